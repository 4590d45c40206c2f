"""All settings, read from GATEWAY_* variables and `.env`. One file for every environment.

Dangerous combinations are refused at start by gateway_site/checks.py, not here: a management
command must be able to run (and say what is wrong) with a bad configuration.
"""

import sys
from pathlib import Path

import environ

from gateway_site import __version__
from gateway_site.keys import KeyMissing, load_key

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(env.str("GATEWAY_ENV_FILE", default=str(BASE_DIR / ".env")))

# --- where and as what Gatehouse runs -----------------------------------------------------
VERSION = __version__
GATEWAY_ENV = env.str("GATEWAY_ENV", default="production")
DEVELOPMENT = GATEWAY_ENV == "development"
DEBUG = env.bool("GATEWAY_DEBUG", default=False)
GATEWAY_DATA_DIR = Path(env.str("GATEWAY_DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
GATEWAY_DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o750)
GATEWAY_BIND = env.str("GATEWAY_BIND", default="127.0.0.1:8000")
GATEWAY_ROLE = env.str("GATEWAY_ROLE", default="all")
GATEWAY_REDIS_URL = env.str("GATEWAY_REDIS_URL", default="")
GATEWAY_NODE = env.str("GATEWAY_NODE", default="")

# --- data plane ---------------------------------------------------------------------------
GATEWAY_AUTH_MODE = env.str("GATEWAY_AUTH_MODE", default="gateway")
GATEWAY_AZURE_AD_TENANT_ID = env.str("GATEWAY_AZURE_AD_TENANT_ID", default="")
GATEWAY_AZURE_AD_CLIENT_ID = env.str("GATEWAY_AZURE_AD_CLIENT_ID", default="")
GATEWAY_AZURE_AD_AUDIENCE = env.str("GATEWAY_AZURE_AD_AUDIENCE", default="")
GATEWAY_API_KEY = env.list("GATEWAY_API_KEY", default=[])
GATEWAY_CORS_ORIGINS = env.list("GATEWAY_CORS_ORIGINS", default=[])
GATEWAY_MAX_BODY_BYTES = env.int("GATEWAY_MAX_BODY_BYTES", default=1_048_576)
GATEWAY_ROUTE_TIMEOUT = env.float("GATEWAY_ROUTE_TIMEOUT", default=15.0)
GATEWAY_MAX_HEADER_COUNT = env.int("GATEWAY_MAX_HEADER_COUNT", default=100)
GATEWAY_MAX_HEADER_BYTES = env.int("GATEWAY_MAX_HEADER_BYTES", default=32_768)
GATEWAY_UNDERSCORE_HEADERS = env.str("GATEWAY_UNDERSCORE_HEADERS", default="drop")  # drop | reject
GATEWAY_UPSTREAM_CONNECTIONS = env.int("GATEWAY_UPSTREAM_CONNECTIONS", default=256)
GATEWAY_ALLOW_LOOPBACK_UPSTREAMS = env.bool("GATEWAY_ALLOW_LOOPBACK_UPSTREAMS", default=DEVELOPMENT)
GATEWAY_DIRECTORY_PRELOAD = env.int("GATEWAY_DIRECTORY_PRELOAD", default=200_000)
GATEWAY_DRAIN_SECONDS = env.int("GATEWAY_DRAIN_SECONDS", default=30)
GATEWAY_KEY_ROTATION_GRACE_SECONDS = env.int("GATEWAY_KEY_ROTATION_GRACE_SECONDS", default=86_400)

# --- secret keys --------------------------------------------------------------------------
GATEWAY_KEY_DIR = GATEWAY_DATA_DIR / "keys"
MISSING_KEYS: list[str] = []


def _key(name: str) -> str:
    try:
        return load_key(name, GATEWAY_KEY_DIR, may_create=DEVELOPMENT)
    except KeyMissing:
        MISSING_KEYS.append(name)
        # Long enough for Django to start a command such as `generate_keys`; the checks refuse to serve.
        return f"missing-{name}-" + "0" * 50


SECRET_KEY = _key("secret_key")
GATEWAY_API_KEY_PEPPER = _key("api_key_pepper")
GATEWAY_ENCRYPTION_KEY = _key("encryption_key")

# --- audit log ----------------------------------------------------------------------------
# Where records wait until every sink has them; one directory a host, on a local disk.
GATEWAY_AUDIT_SPOOL_DIR = Path(env.str("GATEWAY_AUDIT_SPOOL_DIR", default=str(GATEWAY_DATA_DIR / "spool")))
GATEWAY_AUDIT_SPOOL_BYTES = env.int("GATEWAY_AUDIT_SPOOL_BYTES", default=1 << 30)
GATEWAY_AUDIT_SPOOL_DAYS = env.int("GATEWAY_AUDIT_SPOOL_DAYS", default=7)
GATEWAY_AUDIT_SEGMENT_BYTES = env.int("GATEWAY_AUDIT_SEGMENT_BYTES", default=8 << 20)
GATEWAY_AUDIT_FSYNC = env.str("GATEWAY_AUDIT_FSYNC", default="interval")  # never | interval | always
# A request whose record can't be stored is answered 503 instead of being counted as a drop.
GATEWAY_AUDIT_REQUIRED = env.bool("GATEWAY_AUDIT_REQUIRED", default=False)
# Where records go, any number of: database, clickhouse, kafka, redis_stream, file, stdout, webhook, syslog.
GATEWAY_AUDIT_SINKS = env.list("GATEWAY_AUDIT_SINKS", default=["database"])
GATEWAY_AUDIT_RETENTION_DAYS = env.int("GATEWAY_AUDIT_RETENTION_DAYS", default=365)  # 0: for ever
GATEWAY_AUDIT_FILE = env.str("GATEWAY_AUDIT_FILE", default=str(GATEWAY_DATA_DIR / "audit.jsonl"))
GATEWAY_AUDIT_FILE_BYTES = env.int("GATEWAY_AUDIT_FILE_BYTES", default=256 << 20)  # rotated then; 0: never
GATEWAY_AUDIT_FILES_KEPT = env.int("GATEWAY_AUDIT_FILES_KEPT", default=10)
GATEWAY_AUDIT_STREAM = env.str("GATEWAY_AUDIT_STREAM", default="gatehouse:audit")
GATEWAY_AUDIT_STREAM_LENGTH = env.int("GATEWAY_AUDIT_STREAM_LENGTH", default=1_000_000)
GATEWAY_AUDIT_WEBHOOK_URL = env.str("GATEWAY_AUDIT_WEBHOOK_URL", default="")
GATEWAY_AUDIT_WEBHOOK_SECRET = env.str("GATEWAY_AUDIT_WEBHOOK_SECRET", default="")
GATEWAY_AUDIT_SYSLOG_URL = env.str("GATEWAY_AUDIT_SYSLOG_URL", default="")  # tcp|tls|udp://HOST[:PORT]
GATEWAY_CLICKHOUSE_URL = env.str("GATEWAY_CLICKHOUSE_URL", default="")  # clickhouse://USER:PASSWORD@HOST/DB
GATEWAY_KAFKA_BOOTSTRAP = env.str("GATEWAY_KAFKA_BOOTSTRAP", default="")  # HOST:PORT, comma-separated
GATEWAY_AUDIT_KAFKA_TOPIC = env.str("GATEWAY_AUDIT_KAFKA_TOPIC", default="gatehouse.audit")
# With a broker a Celery worker delivers; without one the shipper does so itself.
GATEWAY_CELERY_BROKER_URL = env.str("GATEWAY_CELERY_BROKER_URL", default="")
# A batch that no worker has answered for by then is sent again.
GATEWAY_AUDIT_TASK_SECONDS = env.int("GATEWAY_AUDIT_TASK_SECONDS", default=30)
# What of a record is personal: keep | hash (keyed) | truncate | drop.
GATEWAY_AUDIT_REDACT_EMAIL = env.str("GATEWAY_AUDIT_REDACT_EMAIL", default="hash")
GATEWAY_AUDIT_REDACT_IP = env.str("GATEWAY_AUDIT_REDACT_IP", default="keep")
GATEWAY_AUDIT_REDACT_PRINCIPAL = env.str("GATEWAY_AUDIT_REDACT_PRINCIPAL", default="keep")
GATEWAY_AUDIT_REDACT_PATH = env.str("GATEWAY_AUDIT_REDACT_PATH", default="hash")
GATEWAY_AUDIT_PATH_PATTERNS = env.list("GATEWAY_AUDIT_PATH_PATTERNS", default=[])  # whole segments
GATEWAY_AUDIT_SECRET_PATTERNS = env.list("GATEWAY_AUDIT_SECRET_PATTERNS", default=[])  # anywhere
GATEWAY_AUDIT_QUERY_NAMES = env.list("GATEWAY_AUDIT_QUERY_NAMES", default=[])  # added to the built-in ones

# --- Django -------------------------------------------------------------------------------
ALLOWED_HOSTS = env.list("GATEWAY_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("GATEWAY_CSRF_TRUSTED_ORIGINS", default=[])
INSTALLED_APPS = [
    # Of it only the command runserver is needed here: its Twisted takes a quarter of any other start, and 19 MB.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.inlines",
    "unfold.contrib.simple_history",
    "unfold.contrib.import_export",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "simple_history",
    "import_export",
    "channels",
    "accounts",
    "routing",
    "auditlog",
    "gateway_site",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "gateway_site.middleware.ControlPlaneHeaders",
    "gateway_site.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "gateway_site.urls"
ASGI_APPLICATION = "gateway_site.asgi.application"
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
]
DATABASES = {
    "default": env.db_url(
        "GATEWAY_DATABASE_URL", default=f"sqlite:///{GATEWAY_DATA_DIR / 'gatehouse.sqlite3'}"
    )
}
DATABASES["default"]["ATOMIC_REQUESTS"] = True
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: a transaction that will write takes the lock at once and waits, instead of failing at its first write.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.Principal"
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
AUTHENTICATION_BACKENDS = ["gateway_site.logins.backend.PasswordBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# --- lockout ------------------------------------------------------------------------------
GATEWAY_LOGIN_FAILURES = env.int("GATEWAY_LOGIN_FAILURES", default=5)
GATEWAY_LOGIN_LOCKOUT_SECONDS = env.int("GATEWAY_LOGIN_LOCKOUT_SECONDS", default=900)
# Only what axes still does by itself: its table, its middleware, its signal.
AXES_HANDLER = "gateway_site.logins.axes_handler.LoginHandler"
AXES_LOCKOUT_CALLABLE = "gateway_site.logins.lockout_answer.answer_lockout"
AXES_USERNAME_CALLABLE = "gateway_site.logins.axes_handler.username_key"
AXES_CLIENT_IP_CALLABLE = "routing.control_client.client_of"
AXES_COOLOFF_TIME = "gateway_site.logins.attempts.lockout_duration"
AXES_FAILURE_LIMIT = GATEWAY_LOGIN_FAILURES
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
AXES_DISABLE_ACCESS_LOG = True

# --- language, time, files ----------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["gateway_site.formats"]
STATIC_URL = "/static/"
STATIC_ROOT = GATEWAY_DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns at every start without it
# Served straight from the installed packages: no collectstatic step before the first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
SIMPLE_HISTORY_HISTORY_CHANGE_REASON_USE_TEXT_FIELD = True
# A cell that begins like a formula would run in the spreadsheet of whoever opens the export.
IMPORT_EXPORT_ESCAPE_FORMULAE_ON_EXPORT = True
# The past is looked at, never restored: a revert would revive revoked keys.
SIMPLE_HISTORY_REVERT_DISABLED = True

# --- admin --------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Gatehouse",
    "SITE_HEADER": "Gatehouse",
    "SITE_SUBHEADER": f"API gateway {VERSION}",
    "SITE_SYMBOL": "shield_lock",
    "SITE_URL": "/admin/",
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "routing.navigation.environment",
    "DASHBOARD_CALLBACK": "routing.dashboard.dashboard",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/gatehouse/favicon.svg"}],
    "STYLES": ["/static/gatehouse/admin.css"],
    "SIDEBAR": {"show_search": True, "navigation": "routing.navigation.sidebar"},
    "COLORS": {
        "primary": {
            "50": "oklch(97% .013 236)",
            "100": "oklch(95% .026 236)",
            "200": "oklch(90% .058 230)",
            "300": "oklch(82% .11 230)",
            "400": "oklch(74% .15 232)",
            "500": "oklch(66% .16 240)",
            "600": "oklch(55% .15 245)",
            "700": "oklch(48% .13 246)",
            "800": "oklch(42% .11 246)",
            "900": "oklch(37% .09 247)",
            "950": "oklch(28% .07 248)",
        },
    },
}

# --- browser security of the control plane -----------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
# Names and a path of their own: a browser never sends them to a proxied route.
SESSION_COOKIE_NAME = "gatehouse_session"
CSRF_COOKIE_NAME = "gatehouse_csrf"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/admin"
# In the session, not in a cookie: Django's message cookie would have the path /.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "gateway_site.errors.csrf_failure"
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("GATEWAY_BEHIND_TLS", default=False) else None
)

# --- logging ------------------------------------------------------------------------------
GATEWAY_LOG_FORMAT = env.str("GATEWAY_LOG_FORMAT", default="json")
GATEWAY_LOG_LEVEL = env.str("GATEWAY_LOG_LEVEL", default="INFO").upper()
GATEWAY_ACCESS_LOG = env.bool("GATEWAY_ACCESS_LOG", default=True)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "gateway": {"()": "gateway_site.logging.GatewayFormatter", "style_name": GATEWAY_LOG_FORMAT}
    },
    "handlers": {
        "stdout": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "gateway"},
    },
    "root": {"handlers": ["stdout"], "level": GATEWAY_LOG_LEVEL},
    # It logs every URL it asks for, query included.
    # And axes calls it an error when a command signs in without a request.
    "loggers": {"httpx": {"level": "WARNING"}, "axes": {"level": "CRITICAL"}},
}

# --- API ----------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "gateway_site.errors.exception_handler",
    # The first one names the challenge of a 401.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "routing.api.authentication.KeyAuthentication",
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [GATEWAY_REDIS_URL]},
    }
    if GATEWAY_REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
