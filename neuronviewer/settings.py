"""All settings, from the environment. docs/configuration.md explains each variable.

A malformed variable stops the start with its name; nothing is guessed.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import secrets
import tempfile
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from explanations.pipeline.language_models.secret import Secret
from explanations.pipeline.remote.address import AddressError, check_address

BASE_DIR = Path(__file__).resolve().parent.parent
SECONDS_FOR_A_CONNECTION = 30
"""How long a request waits for a connection of the pool, where all are in use."""


def env_text(name: str, default: str = "") -> str:
    """Return the variable without surrounding blanks; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, default: bool) -> bool:
    value = env_text(name, str(default)).lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is neither true nor false; use 1 or 0")


def env_int(name: str, default: int, minimum: int = 0) -> int:
    value = env_text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r} is not a whole number") from None
    if number < minimum:
        raise ImproperlyConfigured(f"{name}={value} is below {minimum}")
    return number


def env_dollars(name: str) -> Decimal | None:
    """Return an amount of US dollars; None where the variable is not set, which is not the same as 0."""
    text = env_text(name)
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ImproperlyConfigured(f"{name}={text!r} is not an amount of US dollars such as 2.50") from None
    if not amount.is_finite() or not 0 <= amount < 1_000_000_000:
        raise ImproperlyConfigured(f"{name}={text} is not an amount between 0 and a billion US dollars")
    if amount != round(amount, 6):
        raise ImproperlyConfigured(f"{name}={text} has more than six digits after the point")
    return amount


def env_list(name: str, default: str) -> list[str]:
    return [part.strip() for part in env_text(name, default).split(",") if part.strip()]


def env_origins(name: str) -> list[str]:
    origins = env_list(name, "")
    for origin in origins:
        if not origin.startswith(("https://", "http://")):
            raise ImproperlyConfigured(f"{name}: {origin!r} must begin with https:// or http://")
    return origins


def env_time_zone(name: str, default: str) -> str:
    zone = env_text(name, default)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ImproperlyConfigured(f"{name}={zone!r} is not a time zone; use a name such as Europe/Berlin") from None
    return zone


def env_class(name: str, default: str) -> str:
    """Return the dotted name of a class whose module can be found; the class itself is imported later."""
    path = env_text(name, default)
    try:
        found = importlib.util.find_spec(path.rpartition(".")[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ImproperlyConfigured(f"{name}={path!r} is not a class that can be imported")
    return path


def env_number(name: str, default: float, above: float | None = None) -> float:
    """Return a number that is not negative, or that is above the one given."""
    value = env_text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r} is not a number") from None
    if not math.isfinite(number) or number < 0 or (above is not None and number <= above):
        raise ImproperlyConfigured(f"{name}={value} must be {'at least 0' if above is None else f'above {above:g}'}")
    return number


def env_address(name: str) -> str:
    """Return a web address without what may be secret in one; empty where it is not set."""
    address = env_text(name)
    if not address:
        return ""
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, is_address = urlsplit(""), False
    if parts.username is not None or parts.password is not None or "@" in address:
        # The address itself is not repeated: it may hold the key.
        raise ImproperlyConfigured(f"{name} must hold no name or password; put the key into LLM_API_KEY")
    if not is_address or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{name} is not an address such as https://api.openai.com/v1")
    return address.rstrip("/")


def env_data_address(name: str) -> str:
    """Return the base address of a dataset, with a slash at its end; empty where it is not set."""
    try:
        return check_address(text) if (text := env_text(name)) else ""
    except AddressError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None


def env_key(name: str) -> Secret:
    """Return a key that nothing shows."""
    key = env_text(name)
    if not key.isascii() or any(not "!" <= character <= "~" for character in key):
        raise ImproperlyConfigured(f"{name} holds blanks or characters that no key has; it is not shown here")
    return Secret(key)


def env_local_model(name: str) -> Path | None:
    """Return the folder or GGUF file of a language model; it is looked into when it is loaded."""
    if not (text := env_text(name)):
        return None
    path = Path(text).expanduser().resolve()
    if not path.is_dir() and not (path.suffix.lower() == ".gguf" and path.is_file()):
        raise ImproperlyConfigured(f"{name}={text!r} is neither a folder nor a .gguf file")
    return path


def env_folders(name: str) -> dict[str, Path]:
    """Return folders (or GGUF files) by what they are for, from "slug=/path,slug=/path". They are looked for later."""
    folders: dict[str, Path] = {}
    for part in env_list(name, ""):
        slug, _, path = (piece.strip() for piece in part.partition("="))
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", slug) or not path:
            raise ImproperlyConfigured(f"{name}: {part!r} is not a model and its folder, such as gpt2=/models/gpt2")
        if slug in folders:
            raise ImproperlyConfigured(f"{name} names two folders for {slug!r}")
        folders[slug] = Path(path).expanduser().resolve()
    return folders


def env_file(name: str) -> Path | None:
    """Return the path of a file; None where the variable is not set."""
    if not (text := env_text(name)):
        return None
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise ImproperlyConfigured(f"{name}={text!r} is not a file")
    return path


def env_database(data: Path) -> dict[str, Any]:
    """Return the database that DATABASE_URL names: SQLite in the data folder where it names none."""
    pool_size = env_int("DATABASE_POOL_SIZE", 8)
    url = env_text("DATABASE_URL", f"sqlite:///{data / 'neuronviewer.sqlite3'}")
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL is not a database address: {error}") from None
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = {
            **config.get("OPTIONS", {}),
            # IMMEDIATE: a transaction that will write waits for its turn at once, instead of failing half-way.
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            # page_size only counts for a database that is still empty: packed activations fill large pages better.
            "init_command": "PRAGMA page_size=16384; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            " PRAGMA cache_size=-65536; PRAGMA mmap_size=268435456; PRAGMA temp_store=MEMORY",
        }
    elif config["ENGINE"] == "django.db.backends.postgresql":
        if pool_size:
            # The pool keeps connections, not the threads: one that is idle holds none.
            config["CONN_MAX_AGE"] = 0
            pool = {"min_size": 1, "max_size": pool_size, "timeout": SECONDS_FOR_A_CONNECTION}
            given = config.get("OPTIONS", {})
            config["OPTIONS"] = {
                **given,
                "pool": pool,
                # A statement lives as long as its connection, which a pooler between would share. Only those of
                # explanations.statements send their parameters apart, and so can be prepared.
                "prepare_threshold": 0,
                # Else a scan of a large table begins where another has come to, and each page of a search would be of
                # other matches.
                "options": f"-c synchronize_seqscans=off {given.get('options', '')}".rstrip(),
            }
    else:
        raise ImproperlyConfigured(f"DATABASE_URL: {config['ENGINE']} is not supported; use sqlite: or postgres:")
    return config


def secret_key(data: Path) -> str:
    """Return SECRET_KEY, or one made at the first start and kept in the data folder, readable by its owner only."""
    if given := env_text("SECRET_KEY"):
        return given
    path = data / "secret_key"
    if not path.exists():
        write_secret_key(path)
    key = path.read_text().strip()
    if not key:
        raise ImproperlyConfigured(f"{path} is empty; delete it and start again, or set SECRET_KEY")
    return key


def write_secret_key(path: Path) -> None:
    """Write a new key, unless another process is quicker: web server and workers may all start at once."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix=".secret_key_", dir=path.parent) as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            # Under its own name only once it is whole; a link, unlike a rename, never replaces the other's.
            os.link(file.name, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be written ({error}); set SECRET_KEY") from None


DATA_DIR = Path(env_text("NEURONVIEWER_DATA", str(BASE_DIR / "data"))).expanduser().resolve()
try:
    # With its folder for static files, since whitenoise warns where that is missing.
    (DATA_DIR / "static").mkdir(parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(f"NEURONVIEWER_DATA={DATA_DIR} is not a folder that can be made: {error}") from None

DEBUG = env_bool("DEBUG", False)
SECRET_KEY = secret_key(DATA_DIR)
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env_origins("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    # Before django_tasks_db: its db_worker command is extended here.
    "explanations",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_tasks",
    "django_tasks_db",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "neuronviewer.compression.CompressionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "neuronviewer.urls"
WSGI_APPLICATION = "neuronviewer.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
    {
        # The sections of a neuron's page. Django's templates include them with {% section %}.
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [BASE_DIR / "templates" / "jinja2"],
        "OPTIONS": {"environment": "neuronviewer.jinja.environment"},
    },
]

DATABASES = {"default": env_database(DATA_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "overview"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env_bool("SECURE_COOKIES", False)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

LANGUAGE_CODE = "en"
TIME_ZONE = env_time_zone("TIME_ZONE", "UTC")
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "neuronviewer.plotly_finder.PlotlyFinder",
]
FIXTURE_DIRS = [BASE_DIR / "fixtures"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "neuronviewer.static_storage.StaticStorage"
    },
}

# No inline script or style anywhere: everything comes from our own static files.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# Where `import_dataset public` reads from, where it is not where the data was published: a mirror. docs/importing.md.
PUBLIC_DATA_URL = env_data_address("PUBLIC_DATA_URL")

TASKS = {"default": {"BACKEND": env_class("TASKS_BACKEND", "django_tasks_db.DatabaseBackend"), "QUEUES": []}}
JOB_LEASE_SECONDS = env_int("JOB_LEASE_SECONDS", 30, minimum=2)

# Texts that people try on subject models. docs/trying.md.
NEURONVIEWER_SUBJECTS = env_folders("NEURONVIEWER_SUBJECTS")
TRIES_PER_HOUR = env_int("TRIES_PER_HOUR", 60, minimum=1)
TRY_THREADS = env_int("TRY_THREADS", 1, minimum=1)
TRY_MAX_TOKENS = env_int("TRY_MAX_TOKENS", 256, minimum=1)

# What language models may cost; None is no cap.
BUDGET_USD_PER_JOB = env_dollars("BUDGET_USD_PER_JOB")
BUDGET_USD_PER_PERSON_PER_DAY = env_dollars("BUDGET_USD_PER_PERSON_PER_DAY")
BUDGET_USD_PER_DAY = env_dollars("BUDGET_USD_PER_DAY")

# Language models: an OpenAI-compatible endpoint, and a model of this machine. docs/language-models.md.
LLM_BASE_URL = env_address("LLM_BASE_URL")
LLM_API_KEY = env_key("LLM_API_KEY")
LLM_MODEL = env_text("LLM_MODEL")
LLM_PRICE_IN = env_number("LLM_PRICE_IN", 0)
LLM_PRICE_OUT = env_number("LLM_PRICE_OUT", 0)
LLM_CONCURRENCY = env_int("LLM_CONCURRENCY", 8, minimum=1)
LLM_TIMEOUT = env_number("LLM_TIMEOUT", 60, above=0)
LLM_CONTEXT_WINDOW = env_int("LLM_CONTEXT_WINDOW", 0)
LOCAL_MODEL = env_local_model("LOCAL_MODEL")
# The embedding simulator's model, where it is not the installed package's. docs/simulators.md.
EMBEDDING_MODEL = env_file("EMBEDDING_MODEL")
if bool(LLM_BASE_URL) != bool(LLM_MODEL):
    raise ImproperlyConfigured("LLM_BASE_URL and LLM_MODEL belong together: set both, or neither")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env_text("LOG_LEVEL", "INFO").upper()},
    # A line for every request to a language model says nothing.
    "loggers": {"httpx": {"level": "WARNING"}},
}
if LOGGING["root"]["level"] not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:  # type: ignore[index]
    raise ImproperlyConfigured("LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
