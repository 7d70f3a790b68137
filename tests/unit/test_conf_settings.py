"""Settings: which source wins, every problem at once, no secret shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from conf.generate import PAGE, settings_page
from conf.links import dashboard_url, run_url
from conf.settings import SECTIONS, ConfigError, Settings, env_name, load_settings

PASSWORD = "hunter2-very-secret"
URI = f"mongodb://joule:{PASSWORD}@db:27017"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine counts, and the default data folder is an empty one."""
    for name in [name for name in os.environ if name.upper().startswith("JOULE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda app: str(tmp_path / "default" / app))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A settings file that JOULE_CONFIG names."""
    path = tmp_path / "named.toml"
    monkeypatch.setenv("JOULE_CONFIG", str(path))
    path.write_text("")
    return path


def problems_of(flags: dict[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    return str(caught.value)


def test_defaults_are_those_of_the_design() -> None:
    found = load_settings()
    assert found.kafka.bootstrap == "127.0.0.1:9092"
    assert found.mongodb.database == "energy_emissions"
    assert (found.stream.window_s, found.stream.shuffle_partitions) == (60, 2)
    assert found.stream.ledger_retention_days is None
    assert found.data_dir.name == "joulestream"


def test_flags_win_over_environment_over_file_over_defaults(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("[stream]\nwindow_s = 10\nwatermark_s = 20\ntrigger_s = 30\n")
    monkeypatch.setenv("JOULE_STREAM_WINDOW_S", "11")
    monkeypatch.setenv("JOULE_STREAM_WATERMARK_S", "21")
    found = load_settings({"stream.window_s": 12, "stream.trigger_s": None}).stream
    assert (found.window_s, found.watermark_s, found.trigger_s) == (12, 21, 30.0)
    assert found.max_offsets_per_trigger == 20_000


def test_the_file_in_the_data_folder_is_read_wherever_that_folder_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, port in (("from_env", 1001), ("from_flag", 1002)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "joulestream.toml").write_text(f"[dashboard]\nport = {port}\n")
    monkeypatch.setenv("JOULE_DATA_DIR", str(tmp_path / "from_env"))
    assert load_settings().dashboard.port == 1001
    assert load_settings({"data_dir": tmp_path / "from_flag"}).dashboard.port == 1002


def test_one_load_leaves_nothing_behind_for_the_next(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[dashboard]\nport = 1003\n")
    assert load_settings({"stream.window_s": 5}).dashboard.port == 1003
    monkeypatch.delenv("JOULE_CONFIG")
    assert (load_settings().dashboard.port, load_settings().stream.window_s) == (8501, 60)


def test_every_problem_is_reported_at_once_and_under_both_its_names(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[kafka]\nbootstrap = "no port"\n[colour]\nof = "bikeshed"\n')
    monkeypatch.setenv("JOULE_STREAM_WINDOW_S", "soon")
    monkeypatch.setenv("JOULE_DASHBOARD_PROT", "8501")
    monkeypatch.setenv("JOULE_MONGO_URI", URI)
    text = problems_of({"node.interval_s": 0})
    assert text.startswith("6 setting(s) are wrong")
    for path in ("kafka.bootstrap", "stream.window_s", "dashboard.prot", "node.interval_s"):
        assert f"{path} / {env_name(path)}" in text
    assert "colour" in text
    assert "did you mean mongodb" in text
    assert "'soon'" in text


@pytest.mark.parametrize(
    "flags",
    [{"kafka.bootstraps": "h:1"}, {"kafak.bootstrap": "h:1"}, {"stream": 5}, {"window_s": 5}],
    ids=lambda flags: next(iter(flags)),
)
def test_a_setting_that_does_not_exist_is_refused(flags: dict[str, object]) -> None:
    assert next(iter(flags)).split(".")[0] in problems_of(flags)


def test_other_variables_of_our_prefix_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULE_DEBUG", "1")
    monkeypatch.setenv("JOULE_TEST_MONGODB_URI", URI)
    assert load_settings().kafka.partitions == 3


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    default = load_settings().data_dir
    for name in ("JOULE_DATA_DIR", "JOULE_KAFKA_PARTITIONS", "JOULE_DASHBOARD_URL", "JOULE_CONFIG"):
        monkeypatch.setenv(name, "")
    found = load_settings()
    assert (found.data_dir, found.kafka.partitions, found.dashboard.url) == (default, 3, None)


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    assert "mongodb.timeout_s" in problems_of({"mongodb.timeout_s": number})


def test_the_ledger_cannot_forget_before_the_topic_does() -> None:
    text = problems_of({"stream.ledger_retention_days": 6, "kafka.retention_days": 7})
    assert "stream.ledger_retention_days is 6 and kafka.retention_days 7" in text
    assert load_settings({"stream.ledger_retention_days": 7}).stream.ledger_retention_days == 7


def test_settings_cannot_be_changed_after_loading() -> None:
    found = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        found.kafka.partitions = 5  # type: ignore[misc]


# Secrets


def test_a_password_is_not_in_repr_or_str() -> None:
    found = load_settings({"mongodb.uri": URI})
    assert found.mongodb.uri.get_secret_value() == URI
    assert (
        PASSWORD not in f"{found!r} {found} {found.mongodb!r} {found.model_dump()} {found.model_dump_json()}"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOULE_MONGODB_URL", URI),
        ("JOULE_MONGO_URI", URI),
        ("JOULE_MONGODB", URI),
        ("JOULE_MONGODB", f'"{URI}"'),
        ("JOULE_MONGODB", f'{{"url": "{URI}"}}'),
        ("JOULE_MONGODB", f'{{"uri": ["{URI}"]}}'),
        ("JOULE_MONGODB_DATABASE", URI),
        ("JOULE_KAFKA_URI", URI),
    ],
)
def test_a_password_is_not_in_an_error_even_where_it_stands_in_the_wrong_place(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert PASSWORD not in problems_of()


@pytest.mark.parametrize(
    "text", [f'[mongo]\nuri = "{URI}"\n', f'mongodb = "{URI}"\n', f"[mongodb]\nuri = '{URI}\n"]
)
def test_a_password_in_the_file_is_not_in_an_error(text: str, config: Path) -> None:
    config.write_text(text)
    assert PASSWORD not in problems_of()


def test_an_error_brings_no_cause_with_the_inputs_in_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"mongodb.uri": [URI]})
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


# Files


def test_a_file_that_is_not_there_or_not_toml_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gone.toml"
    monkeypatch.setenv("JOULE_CONFIG", str(path))
    assert str(path) in problems_of()
    path.write_text("[kafka\n")
    assert str(path) in problems_of()


def test_folders_know_home_and_do_not_move_with_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = load_settings({"data_dir": "~/data", "tracker.spool_dir": "spool"})
    assert (found.data_dir, found.spool_dir) == (tmp_path / "data", tmp_path / "spool")


def test_folders_that_are_not_set_are_inside_the_data_folder(tmp_path: Path) -> None:
    found = load_settings({"data_dir": tmp_path})
    assert found.spool_dir == tmp_path / "spool"
    assert found.registry_dir == tmp_path / "registry"
    assert found.checkpoint_root == str(tmp_path / "checkpoints")
    assert load_settings({"stream.checkpoint_dir": "s3a://b/c"}).checkpoint_root == "s3a://b/c"


@pytest.mark.parametrize("name", ["stream.checkpoint_dir", "forecast.registry", "forecast.mlflow_uri"])
def test_a_place_with_a_password_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as error:
        load_settings({name: "s3://the-key:the-secret@bucket/x"})
    assert "the-secret" not in str(error.value)


# To a child process

strange = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
flag_values = st.fixed_dictionaries(
    {},
    optional={
        "data_dir": st.just("/somewhere else/ü"),
        "kafka.bootstrap": st.just("a:1,b:2"),
        "mongodb.uri": strange.map(lambda text: f"mongodb://u:{text}@h"),
        "stream.trigger_s": st.floats(0, 1e6),
        "stream.checkpoint_dir": strange,
        "stream.ledger_retention_days": st.floats(7, 1e6),
        "tracker.spool_dir": st.just(Path("/spool")),
        "tracker.meters": strange,
        "dashboard.port": st.integers(1, 65535),
        "local.port_base": st.none() | st.integers(1, 65535),
    },
)


@given(flag_values)
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_child_with_only_the_environment_has_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, object]
) -> None:
    parent = load_settings(flags)
    with monkeypatch.context() as child:
        for name, value in parent.environment().items():
            child.setenv(name, value)
        assert load_settings() == parent


def test_the_environment_has_a_variable_for_every_setting_that_is_set() -> None:
    found = load_settings()
    expected = {env_name("data_dir")}
    for section in SECTIONS:
        values = getattr(found, section)
        expected |= {
            env_name(f"{section}.{key}")
            for key in type(values).model_fields
            if getattr(values, key) is not None
        }
    assert set(found.environment()) == expected


# Reference and links


def test_the_reference_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text("utf-8") == settings_page(), "run: python -m conf.generate"


def test_every_setting_says_what_it_means_and_is_on_the_page() -> None:
    page = settings_page()
    assert Settings.model_fields["data_dir"].description
    for section in SECTIONS:
        section_class = type(getattr(load_settings(), section))
        for key, field in section_class.model_fields.items():
            assert field.description, f"{section}.{key} has no description"
            assert f"`{env_name(f'{section}.{key}')}`" in page


def test_the_only_setting_with_a_secret_is_the_stores_address() -> None:
    found = load_settings()
    secrets = [
        f"{section}.{key}"
        for section in SECTIONS
        for key in type(getattr(found, section)).model_fields
        if isinstance(getattr(getattr(found, section), key), SecretStr)
    ]
    assert secrets == ["mongodb.uri"]


def test_a_link_to_a_run_quotes_its_name() -> None:
    base = dashboard_url(load_settings({"dashboard.port": 8600}))
    assert base == "http://127.0.0.1:8600"
    assert run_url(base, "../../etc/passwd") == base + "/run?run=..%2F..%2Fetc%2Fpasswd"
    assert (
        dashboard_url(load_settings({"dashboard.url": "https://joule.example/"})) == "https://joule.example"
    )
