"""Speaks the worker's protocol (docs/jobs.md) without doing its work: plays the steps that a test has written down.

Steps:
    ["event", {...}]       says an event
    ["raw", text]          says a line that is none
    ["complain", text]     writes to standard error
    ["records", [...]]     writes the job's table of parcels
    ["write", name]        writes the file that the job's parameter names
    ["begin", name]        begins that file: .NAME.ID.part
    ["set aside", name]    moves the file that is there aside, as the worker does at the very end: .NAME.ID.part.old
    ["copy", name, path]   copies the file that the job's parameter names
    ["result", {...}]      says the result
    ["kill"]               dies by SIGKILL
    ["spawn"]              starts a process that would live on; its id goes to child.txt
    ["wait"]               waits for good
    ["exit", status]       ends
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

folder = Path(os.environ["FAKE_WORKER"])
plan = json.loads((folder / "plan.json").read_text())
job = json.loads(sys.stdin.readline())
parameters = job["parameters"]
(folder / "job.json").write_text(json.dumps(job))
surroundings = {"environment": dict(os.environ), "arguments": sys.argv[1:], "folder": os.getcwd(), "pid": os.getpid()}
(folder / "surroundings.part").write_text(json.dumps(surroundings))
(folder / "surroundings.part").replace(folder / "surroundings.json")  # whoever waits for it finds it whole


def say(event):
    print(json.dumps(event), flush=True)


def heed_cancellation():
    if sys.stdin.readline():
        say({"event": "error", "code": "Cancelled", "message": "The job was cancelled.", "remedy": ""})
    # An end without a word is QGIS's own.
    os._exit(130)


if plan["heeds_cancel"]:
    threading.Thread(target=heed_cancellation, daemon=True).start()
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

for step, *arguments in plan["steps"]:
    if step == "event":
        say(arguments[0])
    elif step == "raw":
        print(arguments[0], flush=True)
    elif step == "complain":
        print(arguments[0], file=sys.stderr, flush=True)
    elif step == "records":
        with open(parameters.get("output_parcels") or parameters["output"], "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["parcel", "pred_code", "pred_crop", "pred_prob", "n_pixels", "ood"])
            table.writerows(arguments[0])
    elif step == "write":
        target = Path(parameters[arguments[0]])
        part = target.with_name(f".{target.name}.{job['id']}.part")
        part.write_text("new")
        part.replace(target)
    elif step == "begin":
        target = Path(parameters[arguments[0]])
        target.with_name(f".{target.name}.{job['id']}.part").write_text("half")
    elif step == "set aside":
        target = Path(parameters[arguments[0]])
        target.rename(target.with_name(f".{target.name}.{job['id']}.part.old"))
    elif step == "copy":
        shutil.copy(parameters[arguments[0]], arguments[1])
    elif step == "result":
        say({"event": "result", "outputs": arguments[0]})
    elif step == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif step == "spawn":
        child = subprocess.Popen(["sleep", "600"])
        (folder / "child.txt").write_text(str(child.pid))
    elif step == "wait":
        while True:
            time.sleep(1)
    elif step == "exit":
        sys.exit(arguments[0])
