"""`optimize dashboard`: serve the studies of all runs on this machine until Ctrl-C."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from ..dashboard import HOST, dashboard_application, serve
from .console import console, print_json


def serve_dashboard(runs: Path, storage: str | None, port: int, last: int, browser: bool, json: bool) -> None:
    """Serve until interrupted. With `json`, print the address as one object first."""
    out, err = console(), console(stderr=True)
    application, names, told = dashboard_application(runs, storage, last)
    for sentence in told:
        err.print(f"[yellow]repaired[/]    {sentence}")
    with serve(application, port) as server:
        address = f"http://{HOST}:{server.server_port}/"
        if json:
            print_json({"address": address, "studies": len(names), "repaired": told})
        else:
            word = "study" if len(names) == 1 else "studies"
            older = f", the newest {last} with their rows" if len(names) > last else ""
            out.print(
                f"[bold]{address}[/]  {len(names)} {word}{older}; on this machine only. Ctrl-C ends it."
            )
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            if not json:
                out.print("ended")
