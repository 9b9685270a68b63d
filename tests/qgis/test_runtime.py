"""Finding and making the worker's environment."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from cropmap.processing_provider.errors import JobCancelled, JobFailed
from cropmap.processing_provider.runtime import base_python, finder, installer
from qgis.core import QgsNetworkAccessManager, QgsSettings
from qgis.PyQt.QtNetwork import QNetworkProxy

from .conftest import Ear

COMMAND = "qgis_process run cropmap:installruntime"


@pytest.fixture
def managed(tmp_path, monkeypatch):
    """An empty folder for managed environments, and nothing else to find."""
    monkeypatch.delenv("CROPMAP_PYTHON", raising=False)
    monkeypatch.setattr(finder, "managed_folder", lambda: str(tmp_path / "cropmap"))
    monkeypatch.setattr(installer, "managed_folder", lambda: str(tmp_path / "cropmap"))
    monkeypatch.setattr(finder, "_sound", set())
    return tmp_path / "cropmap"


def make_python(path: Path, answer: str) -> Path:
    """An interpreter that answers every question in the same way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\necho asked >> '{path}.log'\n")
    path.chmod(0o755)
    return path


SOUND = '{"version": [3, 11, 4], "missing": []}'


def test_without_a_runtime_every_algorithm_says_in_one_sentence_what_to_do(managed, run, season, tmp_path):
    with pytest.raises(Exception, match="has no Python environment") as failure:
        run("stackscenes", {"SCENES": [str(season)], "OUTPUT": str(tmp_path / "stack.tif")})

    message = str(failure.value)
    assert COMMAND in message
    assert "CropMap > Runtime" in message
    assert message.rstrip().count(". ") == 0
    with pytest.raises(Exception, match=COMMAND):
        run("runtimeinfo", {})


def test_the_environment_variable_goes_before_the_option_and_that_before_the_managed_one(
    managed, tmp_path, monkeypatch
):
    own = make_python(Path(finder.python_in(finder.managed_environment())), SOUND)
    assert finder.find_python() == str(own)

    optional = make_python(tmp_path / "optional", SOUND)
    QgsSettings().setValue(finder.SETTING, str(optional))
    try:
        assert finder.find_python() == str(optional)
        named = make_python(tmp_path / "named", SOUND)
        monkeypatch.setenv("CROPMAP_PYTHON", str(named))
        assert finder.find_python() == str(named)
    finally:
        QgsSettings().remove(finder.SETTING)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ('{"version": [3, 9, 2], "missing": []}', "it is Python 3.9.2, and 3.11 or later is needed"),
        ('{"version": [3, 12, 0], "missing": ["torch", "numba"]}', "it lacks torch, numba"),
        ("hello", "it is not a working Python"),
    ],
)
def test_a_named_python_that_cannot_do_it_is_refused_and_no_other_is_taken(
    managed, tmp_path, monkeypatch, answer, problem
):
    make_python(Path(finder.python_in(finder.managed_environment())), SOUND)
    monkeypatch.setenv("CROPMAP_PYTHON", str(make_python(tmp_path / "named", answer)))

    with pytest.raises(JobFailed, match=f"environment variable CROPMAP_PYTHON, cannot run CropMap: {problem}"):
        finder.find_python()


def test_a_named_python_that_is_not_there_is_refused(managed, monkeypatch):
    monkeypatch.setenv("CROPMAP_PYTHON", "/nowhere/python")

    with pytest.raises(JobFailed, match="/nowhere/python.*there is no such file"):
        finder.find_python()


def test_a_sound_python_is_asked_once_a_session(managed, tmp_path, monkeypatch):
    named = make_python(tmp_path / "named", SOUND)
    monkeypatch.setenv("CROPMAP_PYTHON", str(named))

    finder.find_python()
    finder.find_python()

    assert Path(f"{named}.log").read_text().count("asked") == 1


def test_the_managed_environment_lies_outside_the_plugin_and_is_named_after_the_lock(qgis_app):
    folder = Path(finder.managed_environment())

    assert not folder.is_relative_to(Path(finder.__file__).parents[1])
    assert folder.name.startswith("runtime-")
    assert folder.parent.name == "cropmap"


def test_a_base_python_is_found_that_is_a_python_and_not_qgis(qgis_app):
    python = base_python.find_base_python()

    version = subprocess.run(
        [python, "-c", "import sys, venv; print(sys.version_info >= (3, 11))"], capture_output=True
    )
    assert version.stdout.strip() == b"True"


def test_a_base_python_that_was_named_is_the_only_one_tried(tmp_path):
    old = make_python(tmp_path / "python3.9", '{"version": [3, 9, 0], "missing": []}')

    with pytest.raises(JobFailed, match=r"python3.9: it is Python 3.9.0\).*parameter PYTHON"):
        base_python.find_base_python(str(old))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("PYTHON", "PYTHON: there is no file /nowhere/it"),
        ("WHEELS", "WHEELS: there is no folder /nowhere/it"),
    ],
)
def test_a_file_or_folder_to_install_from_must_exist(run, monkeypatch, parameter, message):
    from cropmap.algorithms import installruntime

    monkeypatch.setattr(installruntime, "install", lambda *_: pytest.fail("it was installed all the same"))

    with pytest.raises(Exception, match=message):
        run("installruntime", {parameter: "/nowhere/it"})


def test_a_word_that_is_no_build_of_torch_is_refused_with_the_choices(run):
    with pytest.raises(Exception, match='TORCH cannot be "rocm". Choose from auto, cpu, cuda.'):
        run("installruntime", {"TORCH": "rocm"})


def test_a_driver_that_hangs_or_cannot_be_started_is_no_gpu(tmp_path, monkeypatch):
    driver = make_python(tmp_path / "nvidia-smi", "H200")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert installer.has_nvidia_gpu()

    driver.write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(installer, "_DRIVER_TIMEOUT_S", 0.2)
    assert not installer.has_nvidia_gpu()

    driver.write_text("#!/nowhere/sh\n")
    assert not installer.has_nvidia_gpu()


def test_torch_for_cuda_never_falls_back_to_the_cpu_build():
    version = (Path(installer.__file__).parent / "torch.txt").read_text().strip().partition("==")[2]

    assert installer.torch_attempts("cuda") == [f"torch=={version},!={version}+cpu"]
    assert installer.torch_attempts("cpu") == [f"torch=={version}+cpu", f"torch=={version}"]


def test_pip_goes_through_the_proxy_of_qgis_unless_the_environment_names_one(qgis_app, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    manager = QgsNetworkAccessManager.instance()
    before = manager.fallbackProxy()
    proxy = QNetworkProxy(QNetworkProxy.ProxyType.HttpProxy, "proxy.example.org", 3128, "me", "p@ss/word")
    manager.setFallbackProxyAndExcludes(proxy, [], [])
    try:
        assert installer.pip_environment()["HTTPS_PROXY"] == "http://me:p%40ss%2Fword@proxy.example.org:3128"
        monkeypatch.setenv("https_proxy", "http://other")
        assert "HTTPS_PROXY" not in installer.pip_environment()
    finally:
        manager.setFallbackProxyAndExcludes(before, [], [])


def test_the_index_is_given_to_pip_where_others_cannot_read_it():
    assert installer.pip_environment("https://me:secret@index.example.org")["PIP_INDEX_URL"].endswith("example.org")


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of one empty module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def small_lock(tmp_path, managed, monkeypatch):
    """A lock of two packages instead of all, their wheels, and a worker that needs no more than them."""
    import hashlib

    wheels = tmp_path / "wheels"
    write_wheel(wheels, "seedling", "1.0")
    write_wheel(wheels, "torch", "9.0")
    digest = hashlib.sha256((wheels / "seedling-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (tmp_path / "requirements.txt").write_text(f"seedling==1.0 --hash=sha256:{digest}\n")
    (tmp_path / "torch.txt").write_text("torch==9.0\n")
    monkeypatch.setattr(installer, "_REQUIREMENTS", str(tmp_path / "requirements.txt"))
    monkeypatch.setattr(installer, "_TORCH", str(tmp_path / "torch.txt"))
    monkeypatch.setattr(installer, "run_job", lambda *_, **__: {"devices": [{"name": "a processor"}]})
    return wheels


def environments(managed: Path) -> list[str]:
    return sorted(path.name for path in managed.iterdir()) if managed.exists() else []


def test_installing_makes_an_environment_from_a_folder_of_wheels(small_lock, managed, ear):
    python = installer.install(installer.Choices(torch="cpu", wheels=str(small_lock)), ear)

    assert Path(python).is_relative_to(managed)
    versions = subprocess.run(
        [python, "-c", "import seedling, torch; print(seedling.version, torch.version)"], capture_output=True
    )
    assert versions.stdout.strip() == b"1.0 9.0"
    assert environments(managed) == [Path(finder.managed_environment()).name]
    assert ear.progress_heard == sorted(ear.progress_heard)
    assert ear.progress_heard[-1] == 100
    assert "No build torch==9.0+cpu is on offer there." in ear.text
    assert "Successfully installed seedling-1.0" in ear.text


def test_installing_again_replaces_the_environment_and_removes_those_of_earlier_locks(small_lock, managed, ear):
    target = Path(finder.managed_environment())
    (target / "old").mkdir(parents=True)
    (managed / "runtime-0ld0ld00").mkdir()

    installer.install(installer.Choices(torch="cpu", wheels=str(small_lock)), ear)

    assert environments(managed) == [target.name]
    assert not (target / "old").exists()


def test_a_package_with_another_hash_is_refused_and_what_was_installed_stays(small_lock, managed, ear):
    target = Path(finder.managed_environment())
    (target / "old").mkdir(parents=True)
    write_wheel(small_lock, "seedling", "1.0")
    with (small_lock / "seedling-1.0-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"tampered")

    with pytest.raises(
        JobFailed, match=r"pip could not install the locked packages.*What was installed before is as it was"
    ):
        installer.install(installer.Choices(torch="cpu", wheels=str(small_lock)), ear)

    assert environments(managed) == [target.name]
    assert (target / "old").exists()


def test_a_cancelled_installation_leaves_what_was_there(small_lock, managed):
    target = Path(finder.managed_environment())
    (target / "old").mkdir(parents=True)

    with pytest.raises(JobCancelled):
        installer.install(installer.Choices(torch="cpu", wheels=str(small_lock)), Ear(cancel_at=5))

    assert environments(managed) == [target.name]
    assert (target / "old").exists()


def test_pip_ends_when_qgis_does(tmp_path):
    (tmp_path / "pip.py").write_text("import time\nprint('installing', flush=True)\ntime.sleep(600)\n")
    pip = subprocess.Popen(
        [base_python.find_base_python(), installer._PIP, "install"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert pip.stdout.readline() == b"installing\n"

    pip.stdin.close()

    assert pip.wait(timeout=60) == 1


def test_an_environment_in_which_the_worker_does_not_run_is_not_put_in_place(small_lock, managed, ear, monkeypatch):
    def fail(*_, **__):
        raise JobFailed("InternalError", "No libcudart.", "")

    monkeypatch.setattr(installer, "run_job", fail)

    with pytest.raises(JobFailed, match="No libcudart"):
        installer.install(installer.Choices(torch="cpu", wheels=str(small_lock)), ear)

    assert environments(managed) == []


def test_installruntime_hands_the_choices_over(run, monkeypatch, tmp_path):
    from cropmap.algorithms import installruntime

    chosen = []
    monkeypatch.setattr(
        installruntime, "install", lambda choices, feedback: chosen.append(choices) or "/env/bin/python"
    )

    result = run("installruntime", {"TORCH": "cuda", "INDEX_URL": "https://index.example.org", "WHEELS": str(tmp_path)})

    assert result == {"PYTHON_INSTALLED": "/env/bin/python"}
    assert chosen == [installer.Choices(torch="cuda", index_url="https://index.example.org", wheels=str(tmp_path))]


def test_runtimeinfo_reports_the_worker(run, worker, ear):
    report = run("runtimeinfo", {}, ear)

    assert report["PYTHON"] == str(worker)
    assert report["VERSION"].startswith("3.")
    assert "torch" in report["PACKAGES"]
    assert report["THREADS"] >= 1
    assert f"Interpreter: {worker}" in ear.text
