"""Settings come from flags, variables and a file, in this order, and all of them are documented."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from techport.cli import app
from techport.logs import hide_secrets
from techport.settings import Address, SettingsError, load_settings, settings_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_variables_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "techport.toml").write_text('http = "127.0.0.1:1"\nmqtt = "127.0.0.1:2"\nworker = "from-file"\n')
    monkeypatch.setenv("TECHPORT_MQTT", "127.0.0.1:3")
    monkeypatch.setenv("TECHPORT_HTTP", "127.0.0.1:4")
    settings = load_settings({"http": "127.0.0.1:5", "mqtt": None})
    assert (settings.http, settings.mqtt, settings.worker) == ("127.0.0.1:5", "127.0.0.1:3", "from-file")


def test_a_named_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TECHPORT_CONFIG", "elsewhere.toml")
    with pytest.raises(SettingsError, match=r"elsewhere\.toml"):
        load_settings({})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('htp = "127.0.0.1:1"', "htp"),
        ('http = "8080"', "HOST:PORT"),
        ("inflight = 0", "inflight"),
        ("broken =", "TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "techport.toml").write_text(text)
    with pytest.raises(SettingsError, match=named):
        load_settings({})


def test_a_cluster_of_brokers_is_an_address_too() -> None:
    settings = load_settings({"mqtt": "nats://one,two:4333,[::1]:4444?quality_0=no", "mqtt_ca": "ca.pem"})
    assert settings.nats is not None
    assert [str(server) for server in settings.nats.servers] == ["one:4222", "two:4333", "[::1]:4444"]
    assert not settings.nats.quality_0
    assert settings.mqtt == "nats://one:4222,two:4333,[::1]:4444?quality_0=no"
    assert settings.broker_of_devices == (Address("one", 8883), True), "unless device_broker says where devices connect"


@pytest.mark.parametrize(
    "mqtt",
    ["nats://", "nats:one", "nats://one:port", "nats://user:secret@one", "nats://one?qos0=no", "nats://one,,two"],
)
def test_a_wrong_address_of_a_cluster_is_refused_with_a_right_one(mqtt: str) -> None:
    with pytest.raises(SettingsError, match=r"write (nats://HOST:PORT|for example)"):
        load_settings({"mqtt": mqtt})


def test_a_password_never_shows(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("swordfish\n")
    settings = load_settings({"mqtt_password": "swordfish", "mqtt_password_file": secret})
    assert settings.password() == "swordfish"
    assert "swordfish" not in repr(settings)
    logged = hide_secrets(None, "info", {"event": "connected", "mqtt_password": "swordfish"})
    assert "swordfish" not in str(logged)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[::1]:80", Address("::1", 80)), (":1883", Address("127.0.0.1", 1883)), ("a.b:65535", Address("a.b", 65535))],
)
def test_addresses(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected
    assert Address.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "80", "host:", "host:0", "host:65536", "host:http"])
def test_bad_addresses_say_what_would_do(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Address.parse(text)


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    assert settings_table() in page, "docs/settings.md is out of date: paste techport.settings.settings_table()"


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    example = (ROOT / "docs/settings.md").read_text().split("```toml\n")[1].split("```")[0]
    (tmp_path / "techport.toml").write_text(example)
    assert load_settings({}).model_dump(include=set(tomllib.loads(example)))


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs/commands.md").read_text()
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    commands = [c.name for c in app.registered_commands]
    commands += [
        f"{group.name} {c.name}" for group in app.registered_groups for c in group.typer_instance.registered_commands
    ]
    commands += [group.name for group in app.registered_groups if group.typer_instance.registered_callback]
    missing = [name for name in commands if f"## techport {name}\n" not in page]
    assert not missing, f"docs/commands.md has no section for {missing}"


@pytest.mark.parametrize("name", ["allow_remote", "web_changes"])
def test_settings_that_are_gone_say_what_to_do_instead(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=f"{name}: .*gone"):
        load_settings({name: "on"})
    monkeypatch.setenv(f"TECHPORT_{name.upper()}", "off")
    with pytest.raises(SettingsError, match=f"TECHPORT_{name.upper()}: .*gone"):
        load_settings({})
