"""Runs pip in the new environment and ends with QGIS: its standard input closes when QGIS does."""

import os
import runpy
import sys
import threading


def _watch() -> None:
    while os.read(0, 64):
        pass
    os._exit(1)


threading.Thread(target=_watch, daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
