# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check flask_app_wsgi against the modules of a source, on the controller."""

from __future__ import annotations

import shutil

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

APP = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app(name='x'):\n    app = Flask(name)\n    return app\n"


WHEEL = "./wheels/shop_web-1.0-py3-none-any.whl\n"


@pytest.fixture
def find_error(files, resolve, tmp_path):
    """Return a function that resolves a source, and returns the error message or an empty string."""

    def call(wsgi: str, found: dict, **values) -> str:
        files(tmp_path / "app", {"requirements.txt": "flask\n", **found})
        try:
            resolve(directory=str(tmp_path / "app"), wsgi=wsgi, requirements=("requirements.txt",), **values)
        except SourceError as error:
            return str(error)
        return ""

    return call


@pytest.mark.parametrize(
    ("wsgi", "found"),
    [
        ("wsgi:app", {"wsgi.py": APP}),
        ("shop:app", {"shop/__init__.py": APP}),
        ("shop.web.wsgi:app", {"shop/web/wsgi.py": APP}),
        ("shop:create_app()", {"shop/__init__.py": FACTORY}),
        ("shop:create_app('production', debug=False)", {"shop/__init__.py": FACTORY}),
        ("wsgi:app", {"wsgi.py": ("link", "shop.py"), "shop.py": APP}),
        ("wsgi:app.wsgi_app", {"wsgi.py": APP}),
        ("wsgi:app", {"wsgi.py": "def app(environ, start_response):\n    return []\n"}),
        ("wsgi:app", {"wsgi.py": "from shop import app\n"}),
        ("wsgi:app", {"wsgi.py": "from shop import application as app\n"}),
        ("wsgi:app", {"wsgi.py": "try:\n    import a\nexcept ImportError:\n    app = 1\nelse:\n    app = 2\n"}),
        ("wsgi:app", {"wsgi.py": "if (app := make()):\n    pass\n"}),
        ("wsgi:app", {"wsgi.py": "def load():\n    global app\n    app = 1\nload()\n"}),
        # Only an import would show the names.
        ("wsgi:app", {"wsgi.py": "from shop import *\n"}),
        ("wsgi:app", {"wsgi.py": "globals()['app'] = 1\n"}),
        ("wsgi:app", {"wsgi.py": "def __getattr__(name):\n    return 1\n"}),
        ("wsgi:app", {"wsgi.py": "print 'another Python'\n"}),
        ("wsgi:app", {"wsgi.cpython-313-x86_64-linux-gnu.so": b"\x7fELF"}),
        # An installed package provides the module.
        ("radicale:application", {"config": "x", "requirements.txt": "Radicale==3.5\n"}),
        ("radicale.app:application", {"wsgi_old.py": APP, "requirements.txt": "Radicale==3.5\n"}),
        ("shop:app", {"app.py": APP, "requirements.txt": WHEEL, WHEEL[2:-1]: ""}),
        ("shop:app", {"src/shop/__init__.py": APP, "requirements.txt": ".\n", "setup.py": ""}),
        ("app:app", {"src/app/__init__.py": APP, "requirements.txt": "-e .\n", "setup.py": ""}),
        ("shop:app", {"app.py": APP, "requirements.txt": "git+https://git.example.org/shop\n"}),
    ],
)
def test_defined_or_installable_callables_are_accepted(find_error, wsgi, found):
    assert find_error(wsgi, found) == ""


def test_empty_setting_is_accepted(find_error):
    assert find_error("", {"app.py": APP}) == ""


def test_module_in_shared_data_is_accepted(find_error):
    assert find_error("plugins.shop:app", {"app.py": APP}, shared_paths=("plugins/",)) == ""


@pytest.mark.parametrize(
    ("wsgi", "found", "expected"),
    [
        (
            "wsgi:app",
            {"app.py": APP},
            "holds no module 'wsgi'; set flask_app_wsgi to an application that it defines: app:app.",
        ),
        (
            "wsgi:app",
            {"shop/__init__.py": FACTORY, "run.py": "from shop import create_app\napplication = create_app()\n"},
            "holds no module 'wsgi'; set flask_app_wsgi to one that it defines: run:application, shop:create_app().",
        ),
        (
            "shop.wsgi:app",
            {"shop/__init__.py": "", "shop/web.py": APP, "requirements.txt": "shop-common\n"},
            "holds no module 'shop.wsgi'; set flask_app_wsgi to an application that it defines: shop.web:app.",
        ),
        (
            "wsgi:application",
            {"wsgi.py": APP},
            "defines no 'application' in wsgi.py; set flask_app_wsgi to an application that it defines: wsgi:app.",
        ),
        (
            "shop:app",
            {"shop.py": FACTORY},
            "defines no 'app' in shop.py; set flask_app_wsgi to an application that it defines: shop:create_app().",
        ),
        (
            "wsgi:app",
            {"lib.py": "x = 1\n"},
            "holds no module 'wsgi'; no module of it defines an application: set flask_app_wsgi to module:callable, "
            "such as shop:app.",
        ),
        (
            "shop:app",
            {"app.py": APP, "requirements.txt": ".\n", "setup.py": ""},
            "holds no module 'shop'; set flask_app_wsgi to an application that it defines: app:app.",
        ),
        # Applications of examples and tests are not meant to be served.
        (
            "wsgi:app",
            {"tests/app.py": APP, "docs/app.py": APP, "my-app.py": APP},
            "holds no module 'wsgi'; no module of it defines an application: set flask_app_wsgi to module:callable, "
            "such as shop:app.",
        ),
    ],
)
def test_missing_module_or_callable_is_reported_with_alternatives(find_error, tmp_path, wsgi, found, expected):
    assert find_error(wsgi, found) == f"flask_app_wsgi is '{wsgi}', but release_directory: {tmp_path}/app {expected}"


def test_all_kinds_of_sources_are_checked(resolve, repository, files, tmp_path):
    repository.commit({"app.py": APP})
    with pytest.raises(SourceError, match=r"release_git_repo: .* holds no module 'wsgi'.*: app:app"):
        resolve(git_repo=str(repository.path), git_ref="main", wsgi="wsgi:app")
    files(tmp_path / "app", {"app.py": APP})
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path / "app")
    with pytest.raises(SourceError, match=r"release_archive: .* holds no module 'wsgi'.*: app:app"):
        resolve(archive=archive, wsgi="wsgi:app")
