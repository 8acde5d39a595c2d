"""TOML and --set: what is taken, and what is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_training.config import Config, ConfigError, load_config
from tests.paths import REPOSITORY

CONFIGS = sorted((REPOSITORY / "model_training" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    config = load_config(path)
    assert config.network.lesion_area_attention
    assert config.network.lesion_feature_attention
    assert config.network.distinguish


def test_without_a_file_it_is_the_default() -> None:
    assert load_config(None) == Config()


def test_assignments_go_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("seed = 1\n[network]\nsize = 224\n")
    config = load_config(
        path, ["network.size=320", "start=none", "recognition.learning_rate=3e-4", "network.distinguish=false"]
    )
    assert (config.seed, config.network.size, config.start) == (1, 320, "none")
    assert (config.recognition.learning_rate, config.network.distinguish) == (3e-4, False)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("network.sizee=3", r"network\.sizee: there is no such key"),
        ("sede=3", r"sede: there is no such key"),
        ("network.size=abc", r"network\.size: .*integer"),
        ("network.attention=loud", r"network\.attention: .*'stabilised', 'literal', 'row' or 'cosine'"),
        ("network.branches=single", "a single branch sees no pairs"),
        ("area.epochs=0", r"area\.epochs: .*greater than 0"),
        ("area.learning_rate=inf", r"area\.learning_rate: .*finite"),
        ("network", "--set takes section.key=value"),
        ("seed.more=1", "is a value, not a section|seed"),
    ],
)
def test_errors_name_the_key(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [assignment])


def test_unreadable_and_malformed_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("seed = = 1")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(tmp_path / "bad.toml")
