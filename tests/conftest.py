from __future__ import annotations

import pytest
from django.conf import settings

from tests.world import World, make_world


def pytest_configure() -> None:
    # Tests run on the sources: no collectstatic, no hashed names.
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def world(db: None) -> World:
    return make_world()
