"""Which extra of this project installs an optional package."""

from __future__ import annotations

EXTRAS = {
    "aiohttp": "cache",
    "av": "video",
    "diffusers": "diffusers",
    "distributed": "dask",
    "fsspec": "cache",
    "grpc": "grpc",
    "httpx": "engine",
    "ipykernel": "notebook",
    "nbclient": "notebook",
    "optuna_dashboard": "dashboard",
    "psycopg": "postgresql",
    "pyarrow": "parquet",
    "pymoo": "pymoo",
    "starlette": "serve",
    "torch": "torch",
    "transformers": "transformers",
    "uvicorn": "serve",
    "websockets": "serve",
}
"""Name under which a package is imported -> extra."""


def install_hint(error: BaseException) -> str:
    """How to install what an import lacks, as the end of a sentence; "" for anything else.

    >>> install_hint(ModuleNotFoundError("No module named 'torch'", name="torch"))
    "; pip install 'tradespace[torch]'"
    """
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"; pip install 'tradespace[{EXTRAS[name]}]'" if name in EXTRAS else ""
