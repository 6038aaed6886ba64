"""The wheel that people install, in an environment of its own."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("bchange", "bmint", "bserver", "bwallet", "mock_bservers", "mock_disputed")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, text=True, capture_output=True, check=True
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    run(folder / "bin" / "pip", "install", "--disable-pip-version-check", wheel, cwd=folder)
    return folder / "bin"


def test_it_holds_the_mock_keys_the_networks_and_the_marker_for_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    keys = {f"billots/mock/{name}" for name in ("user1", "user2", "user3", "mint")}
    assert keys | {f"{key}.pub" for key in keys} <= names
    assert {"billots/networks/main.toml", "billots/networks/test.toml"} <= names
    assert "billots/py.typed" in names


def test_it_holds_all_that_pages_are_made_of(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("templates", "static"):
        files = [path.name for path in (ROOT / "billots" / "web" / folder).iterdir()]
        assert files
        assert {f"billots/web/{folder}/{name}" for name in files} <= names


def test_pages_without_the_extra_are_refused_with_what_to_type(environment, tmp_path):
    done = subprocess.run(
        [environment / "bserver", "0", "test", "--web", "0"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "bserver: error: --web needs the extra: jinja2, prometheus_client, starlette, uvicorn not"
        " installed\nhint: pip install 'billots[web]', or '.[web]' in a clone\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_it_puts_nothing_beside_its_own_package(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"billots"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_there_and_helps(environment, command, tmp_path):
    assert "Usage: " + command in run(environment / command, "--help", cwd=tmp_path).stdout


def test_a_server_and_a_wallet_work_from_it(environment, tmp_path):
    server = subprocess.Popen(
        [environment / "bserver", "0", "test"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        place = server.stdout.readline().split()[-1]
        asked = run(environment / "bwallet", "--who-owns", "a-1", "--server", place, cwd=tmp_path)
        mine = run(
            environment / "python",
            "-c",
            "from billots.mock import mock_key; print(mock_key('user1').owner)",
            cwd=tmp_path,
        )
        assert asked.stdout.splitlines()[0] == f"Owner: {mine.stdout.strip()}"
    finally:
        server.terminate()
        server.communicate(timeout=20)
    assert server.returncode == 0
