# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.flaskops.production.plugins.lookup import of_app
from ansible_collections.flaskops.production.plugins.lookup.per_app import (
    LookupModule,
    check_applications,
    format_reference,
    format_wrapper,
    split_batches,
)

try:  # ansible-core 2.19 and newer
    from ansible.template import trust_as_template
except ImportError:
    trust_as_template = str

FILE = "/playbooks/tasks/prepare.yml"
SHOP = {"flask_app_name": "shop", "flask_app_env": {"KEY": "a secret"}, "nginx_site_listen": 8080}
BLOG = {"flask_app_name": "blog", "release_directory": "/home/me/blog"}


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Return a function that runs the lookup. It writes its files to tmp_path."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))

    def run(variables: dict, **options) -> str:
        loader = DataLoader()
        lookup = LookupModule(loader=loader, templar=Templar(loader=loader, variables=variables))
        (path,) = lookup.run([FILE], variables, **options)
        return path

    return run


def follow_reference(text: str, variables: dict) -> object:
    """Return the value of a reference in a wrapper."""
    index, name = re.fullmatch(r"\{\{ lookup\('flaskops.production.of_app', (\d+), '(\w+)'\) \}\}", text).groups()
    loader = DataLoader()
    lookup = of_app.LookupModule(loader=loader, templar=Templar(loader=loader, variables=variables))
    (value,) = lookup.run([int(index), name], variables)
    return value


class Loader(yaml.SafeLoader):
    """Reads !unsafe as a text."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def refusal(path: str) -> str:
    """The message of the only task of a file that refuses."""
    (task,) = yaml.load(Path(path).read_text(), Loader=Loader)
    return task["ansible.builtin.fail"]["msg"]


def test_one_application_needs_no_wrapper(look, tmp_path):
    assert look({"flask_app_name": "shop"}) == FILE
    assert not list(tmp_path.iterdir())


def test_the_file_is_included_once_for_each_application_with_its_variables(look):
    tasks = yaml.safe_load(Path(look({"flask_apps": [SHOP, BLOG]})).read_text())
    assert [task["ansible.builtin.include_tasks"] for task in tasks] == [FILE, FILE]
    assert ["shop" in tasks[0]["name"], "blog" in tasks[1]["name"]] == [True, True]
    for index, (app, name) in enumerate([(SHOP, "shop"), (BLOG, "blog")]):
        references = {key: format_reference(index, key) for key in app}
        assert tasks[index]["vars"] == {**references, "flask_app_name": name}


def test_the_wrapper_refers_to_values():
    for index, task in enumerate(yaml.safe_load(format_wrapper(FILE, [SHOP, BLOG], ["shop", "blog"]))):
        for name, value in [SHOP, BLOG][index].items():
            if name != "flask_app_name":
                assert follow_reference(task["vars"][name], {"flask_apps": [SHOP, BLOG]}) == value


def test_the_wrapper_contains_no_values(look, tmp_path):
    text = Path(look({"flask_apps": [SHOP, BLOG]})).read_text()
    for value in ("secret", "KEY", "8080", "/home/me"):
        assert value not in text


def test_the_same_applications_share_a_wrapper_and_others_do_not(look, tmp_path):
    first = look({"flask_apps": [SHOP, BLOG]})
    assert look({"flask_apps": [SHOP, BLOG]}) == first
    assert look({"flask_apps": [BLOG]}) != first
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {Path(first).name, Path(look({"flask_apps": [BLOG]})).name}
    )


@pytest.mark.parametrize("apps", [[], {}, "shop", None, [SHOP, "blog"], SHOP])
def test_other_types_than_a_list_of_mappings_are_rejected(apps):
    with pytest.raises(AnsibleError, match="flask_apps must be a list of mappings, one for each application"):
        check_applications(apps)


@pytest.mark.parametrize("app", [{}, {"flask_app_name": ""}, {"flask_app_name": None}, {"flask_app_root": "/srv/x"}])
def test_applications_without_a_name_are_rejected(app):
    with pytest.raises(AnsibleError, match="flask_apps has an application without flask_app_name"):
        check_applications([SHOP, app])


def test_applications_with_equal_names_are_rejected():
    with pytest.raises(AnsibleError, match="flask_apps has shop more than once"):
        check_applications([SHOP, BLOG, {"flask_app_name": "shop"}])


@pytest.mark.parametrize("root", ["/opt/apps", "/opt/{{ place }}"])
def test_applications_with_equal_directories_are_rejected(look, root):
    shared = {"flask_app_root": trust_as_template(root)}
    apps = [{**SHOP, **shared}, {**BLOG, "flask_app_root": "/opt/apps"}]
    message = refusal(look({"flask_apps": apps, "place": "apps"}))
    assert message == "flask_apps has /opt/apps more than once: every application needs a flask_app_root of its own."


@pytest.mark.parametrize(
    "value",
    ["git@example.org:{{ flask_app_name }}.git", "{{ flask_app_shared }}/x", "{{ flask_app_root }}", "{{ no_such }}"],
)
def test_values_may_refer_to_the_name_and_to_variables_of_roles(look, value):
    app = {**BLOG, "release_git_repo": trust_as_template(value)}
    tasks = yaml.safe_load(Path(look({"flask_apps": [SHOP, app]})).read_text())
    assert tasks[1]["vars"]["flask_app_name"] == "blog"
    if "{{ flask_app_name }}" in value:
        found = follow_reference(
            tasks[1]["vars"]["release_git_repo"], {"flask_apps": [SHOP, app], "flask_app_name": "blog"}
        )
        assert found == "git@example.org:blog.git"


def test_the_list_and_its_mappings_may_be_templates(look):
    variables = {"shop": SHOP, "blog": {**BLOG, "flask_app_wsgi": trust_as_template("{{ flask_app_name }}:app")}}
    for text in ("{{ [shop, blog] }}", ["{{ shop }}", "{{ blog }}"]):
        text = trust_as_template(text) if isinstance(text, str) else [trust_as_template(one) for one in text]
        tasks = yaml.safe_load(Path(look({"flask_apps": text, **variables})).read_text())
        assert [task["name"] for task in tasks] == ["Include the tasks of shop", "Include the tasks of blog"]


@pytest.mark.parametrize(
    # flask_app_socket is to be read, not to be set.
    "key",
    [
        "flask_app_socket",
        "release_notes",
        "name",
        "ansible_user",
        "flask_app",
        "shop_port",
        "release_Name",
        "venv_x y",
        "x\n",
        1,
    ],
)
def test_unknown_variables_are_rejected(key):
    with pytest.raises(AnsibleError) as refused:
        check_applications([SHOP, {**BLOG, key: "a secret"}])
    assert f"flask_apps has {key}, which is no variable" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "flask_app_wsgi",
        "layout_create_account",
        "venv_python",
        "gunicorn_systemd_workers",
        "nginx_site_listen",
        "release_keep",
    ],
)
def test_variables_of_every_role_are_accepted(name):
    apps = [{**SHOP, name: 1, "flask_app_serial": 1}]
    assert check_applications(apps) == apps


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("nginx_site_server_nam", "nginx_site_server_name"),
        ("gunicorn_systemd_worker", "gunicorn_systemd_workers"),
        ("release_git_rev", "release_git_ref"),
    ],
)
def test_misspelt_variables_are_rejected_with_a_similar_name(key, nearest):
    with pytest.raises(AnsibleError) as refused:
        check_applications([SHOP, {**BLOG, key: "a secret"}])
    assert str(refused.value) == (
        f"flask_apps has {key}, which is no variable of this collection's roles. The nearest is {nearest}."
    )


@pytest.mark.parametrize("name", ["flask_app_hosts", "flask_app_max_fail_percentage", "flask_app_only"])
def test_variables_of_a_whole_play_are_rejected(name):
    with pytest.raises(AnsibleError, match=f"flask_apps has {name}, which holds for a whole run"):
        check_applications([SHOP, {**BLOG, name: "x"}])


# In batches of their own

HOSTS = ["web1", "web2", "web3", "web4", "web5"]


@pytest.mark.parametrize(
    ("serial", "sizes"),
    [
        (1, [1] * 5),
        ("2", [2, 2, 1]),
        ("50%", [2, 2, 1]),
        ("1%", [1] * 5),
        ([1, "100%"], [1, 4]),
        ([1, 2], [1, 2, 2]),
        (9, [5]),
    ],
)
def test_batches_have_the_sizes_of_serial(serial, sizes):
    batches = split_batches("shop", serial, HOSTS)
    assert [len(batch) for batch in batches] == sizes
    assert sum(batches, []) == HOSTS


@pytest.mark.parametrize("serial", [0, -1, "", "half", "0%", [], [1, "x"], None, 1.5, "1\n"])
def test_invalid_batches_are_rejected(serial):
    with pytest.raises(AnsibleError, match="flask_app_serial of shop is .*, but must be a number of hosts, a share"):
        check_applications([{**SHOP, "flask_app_serial": serial}])


def test_applications_are_split_into_batches_only_if_asked(look):
    variables = {"flask_apps": [{**SHOP, "flask_app_serial": [1, "100%"]}, BLOG], "ansible_play_batch": HOSTS}
    conditions = [task.get("when") for task in yaml.safe_load(Path(look(variables, batches=True)).read_text())]
    assert conditions == [
        'inventory_hostname in ["web1"]',
        'inventory_hostname in ["web2", "web3", "web4", "web5"]',
        None,
    ]
    assert len(yaml.safe_load(Path(look(variables)).read_text())) == 2


# Only some of them


@pytest.mark.parametrize("only", ["blog", ["blog"], " blog"])
def test_other_applications_are_skipped_and_references_stay_valid(look, only):
    path = look({"flask_apps": [SHOP, BLOG], "flask_app_only": only})
    (task,) = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    assert task["name"] == "Include the tasks of blog"
    assert task["vars"]["release_directory"] == format_reference(1, "release_directory")


def test_several_applications_can_be_selected(look):
    path = look({"flask_apps": [SHOP, BLOG], "flask_app_only": "blog,shop"})
    assert [task["name"] for task in yaml.safe_load(Path(path).read_text())] == [
        "Include the tasks of shop",
        "Include the tasks of blog",
    ]


@pytest.mark.parametrize("variables", [{"flask_apps": [SHOP, BLOG]}, {"flask_app_name": "shop"}])
@pytest.mark.parametrize("only", ["shoop", "shop,shoop", "", 7])
def test_missing_applications_are_rejected(look, variables, only):
    message = refusal(look({**variables, "flask_app_only": only}))
    assert re.match(r"flask_app_only is '.*', but must name one or more .*: (blog, )?shop\.$", message)


def test_messages_are_not_rendered(look):
    only = "{{ lookup('pipe', 'date') }}"
    path = look({"flask_app_name": "shop", "flask_app_only": only})
    assert "msg: !unsafe " in Path(path).read_text()
    assert only in refusal(path)


def test_a_single_application_can_be_selected(look):
    assert look({"flask_app_name": "shop", "flask_app_only": "shop"}) == FILE


def test_a_host_without_the_selected_application_is_skipped(look):
    elsewhere = {"web1": {}, "web2": {"flask_apps": "wrong"}, "web3": {"flask_apps": [BLOG]}}
    variables = {"flask_app_only": "blog", "hostvars": elsewhere, "ansible_play_hosts_all": list(elsewhere)}
    for own in ({"flask_apps": [SHOP]}, {"flask_app_name": "shop"}):
        (task,) = yaml.safe_load(Path(look({**own, **variables})).read_text())
        assert task["ansible.builtin.set_fact"] == {"__per_app_none": True}


def test_a_host_runs_the_selected_applications_that_it_has(look):
    others = {"hostvars": {"web2": {"flask_app_name": "wiki"}}, "ansible_play_hosts_all": ["web2"]}
    (task,) = yaml.safe_load(
        Path(look({"flask_apps": [SHOP, BLOG], "flask_app_only": "wiki,shop", **others})).read_text()
    )
    assert task["name"] == "Include the tasks of shop"


def test_the_message_lists_the_applications_of_all_hosts(look):
    others = {"hostvars": {"web2": {"flask_app_name": "wiki"}}, "ansible_play_hosts_all": ["web2"]}
    message = refusal(look({"flask_app_name": "shop", "flask_app_only": "shoop", **others}))
    assert re.match("flask_app_only is 'shoop', .* applications of these hosts: shop, wiki", message)
