import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write what the plays say now into their files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "play_file" in metafunc.fixturenames:
        folder = metafunc.definition.path.parent
        files = sorted(folder.glob("*.txt"))
        metafunc.parametrize("play_file", files, ids=[file.stem for file in files])
