"""A whole database into another, row by row and compared: SQLite to PostgreSQL. `copier` is the way in."""
