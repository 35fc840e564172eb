"""Tradespace: typed search problems, one referee, many solvers, certificates.

    import tradespace as ts

    result = ts.solve(ts.problem("matmul-tile"))
    print(result.best, result.certificate)

Every public name is imported on first use, so that `import tradespace` costs nothing.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a source checkout the sub-packages are the repository's top-level folders.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "problems" / "__init__.py").is_file():
    __path__.append(str(_root))
