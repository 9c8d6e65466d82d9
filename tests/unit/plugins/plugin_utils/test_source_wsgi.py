# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flask_app_wsgi against the modules of a source, on the controller."""

from __future__ import annotations

import shutil

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

APP = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app(name='x'):\n    app = Flask(name)\n    return app\n"


@pytest.fixture
def refused(files, resolve, tmp_path):
    """What is said of this source with this flask_app_wsgi; empty when it is accepted."""

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
        # Only an import would tell.
        ("wsgi:app", {"wsgi.py": "from shop import *\n"}),
        ("wsgi:app", {"wsgi.py": "globals()['app'] = 1\n"}),
        ("wsgi:app", {"wsgi.py": "def __getattr__(name):\n    return 1\n"}),
        ("wsgi:app", {"wsgi.py": "print 'another Python'\n"}),
        ("wsgi:app", {"wsgi.cpython-313-x86_64-linux-gnu.so": b"\x7fELF"}),
        # A package that is installed brings it.
        ("radicale:application", {"config": "x", "requirements.txt": "Radicale==3.5\n"}),
        ("radicale.app:application", {"wsgi_old.py": APP, "requirements.txt": "Radicale==3.5\n"}),
        ("shop:app", {"app.py": APP, "requirements.txt": "./wheels/shop_web-1.0-py3-none-any.whl\n", "wheels/x": ""}),
        ("shop:app", {"src/shop/__init__.py": APP, "requirements.txt": ".\n"}),
        ("shop:app", {"app.py": APP, "requirements.txt": "git+https://git.example.org/shop\n"}),
    ],
)
def test_what_is_there_or_may_be_installed_is_accepted(refused, wsgi, found):
    assert refused(wsgi, found) == ""


def test_without_a_name_nothing_is_checked(refused):
    assert refused("", {"app.py": APP}) == ""


def test_a_module_of_shared_data_is_accepted(refused):
    assert refused("plugins.shop:app", {"app.py": APP}, shared_paths=("plugins/",)) == ""


@pytest.mark.parametrize(
    ("wsgi", "found", "said"),
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
            {"app.py": APP, "requirements.txt": ".\n"},
            "holds no module 'shop'; set flask_app_wsgi to an application that it defines: app:app.",
        ),
        # Examples and tests are no applications to serve.
        (
            "wsgi:app",
            {"tests/app.py": APP, "docs/app.py": APP, "my-app.py": APP},
            "holds no module 'wsgi'; no module of it defines an application: set flask_app_wsgi to module:callable, "
            "such as shop:app.",
        ),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(refused, tmp_path, wsgi, found, said):
    assert refused(wsgi, found) == f"flask_app_wsgi is '{wsgi}', but release_directory: {tmp_path}/app {said}"


def test_every_kind_of_source_is_checked(resolve, repository, files, tmp_path):
    repository.commit({"app.py": APP})
    with pytest.raises(SourceError, match=r"release_git_repo: .* holds no module 'wsgi'.*: app:app"):
        resolve(git_repo=str(repository.path), git_ref="main", wsgi="wsgi:app")
    files(tmp_path / "app", {"app.py": APP})
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path / "app")
    with pytest.raises(SourceError, match=r"release_archive: .* holds no module 'wsgi'.*: app:app"):
        resolve(archive=archive, wsgi="wsgi:app")
