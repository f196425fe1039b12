"""What an installation holds, and the room that it takes: `dataset_stats` prints it."""
