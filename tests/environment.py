"""Give every test process settings and data of its own. Runs before Django is loaded."""

import os
import tempfile
from pathlib import Path


def isolate() -> Path:
    """Point the settings of this process at a new data directory and return it."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        del os.environ[name]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    data_dir = Path(tempfile.mkdtemp(prefix=f"gatehouse-{worker}-"))
    os.environ["GATEWAY_DATA_DIR"] = str(data_dir)
    os.environ["GATEWAY_ENV"] = "development"
    # A developer's own .env must not decide how a test ends.
    os.environ["GATEWAY_ENV_FILE"] = os.devnull
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_site.settings"
    return data_dir
