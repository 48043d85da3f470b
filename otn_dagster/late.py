"""Large libraries that are imported when they are first used.

Belongs here: that one idea. Every run of Dagster is a process of its own, and most runs need neither Ibis nor zarr: what a run does not use,
it does not wait for. Does not belong here: small libraries, which are imported as usual.
"""

import importlib.util
import sys
from types import ModuleType


def late(name: str) -> ModuleType:
    """The module of a name, loaded at the first look at one of its attributes. Raises ModuleNotFoundError at once.

    After the recipe of the standard library's ``importlib.util.LazyLoader``.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
