"""Every SQL statement on catalog.db.  Values go in and out; rows stay in here.

Names are imported when they are asked for: the helpers of a scan need one module of all these.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashall.catalog.devices import DeviceTable
    from hashall.catalog.files import FileTable
    from hashall.catalog.payloads import PayloadTable
    from hashall.catalog.runs import RunTable
    from hashall.catalog.scans import ScanTable
    from hashall.catalog.store import Catalog, open_catalog

_HOMES = {
    "Catalog": "store",
    "DeviceTable": "devices",
    "FileTable": "files",
    "PayloadTable": "payloads",
    "RunTable": "runs",
    "ScanTable": "scans",
    "open_catalog": "store",
}

__all__ = [
    "Catalog",
    "DeviceTable",
    "FileTable",
    "PayloadTable",
    "RunTable",
    "ScanTable",
    "open_catalog",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
