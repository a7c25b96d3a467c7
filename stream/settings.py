"""The settings: environment variables `EDDY_<FIELD>`, then `eddy.toml`, then the defaults here."""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings import SettingsError as UnreadableValueError

from stream.errors import SettingsError

OTHERS = re.compile(r"EDDY_DATA|EDDY_TEST_\w+")
"""Variables that begin like a setting's and are others'."""


class DeclaredArm(BaseModel, extra="forbid"):
    """An arm as `eddy.toml` declares it, in a table `[[arms]]`."""

    id: str = Field(min_length=1, max_length=1100)
    """`MODEL`, `MODEL|AGENT`, … as `stream.records.Arm.id` writes it."""
    usd_per_million_input_tokens: float | None = Field(default=None, ge=0)
    usd_per_million_output_tokens: float | None = Field(default=None, ge=0)


class AgentThresholds(BaseModel, extra="forbid"):
    """What fires a cycle over one agent, in a table `[cycle_agents.NAME]` of `eddy.toml`; as the settings `cycle_after_…` for all."""

    traces: int = Field(default=0, ge=0)
    rated: int = Field(default=0, ge=0)
    pairs: int = Field(default=0, ge=0)
    drop: float = Field(default=0.0, ge=0, le=1)
    every_s: float = Field(default=0.0, ge=0)
    cooldown_s: float = Field(default=3_600.0, ge=0)


OBSERVE = "observe"
"""The rollout in which what is learned serves nobody."""


def read_rollout(said: object) -> float:
    """Read how much of the traffic follows what is learned: `observe` (0), a share in (0, 1), or 1.

    Raises:
        ValueError: it is none of these.

    Example:
        >>> [read_rollout(said) for said in ("observe", "0.05", 1)]
        [0.0, 0.05, 1.0]
    """
    try:
        share = 0.0 if said == OBSERVE else float(said)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        share = -1.0
    if not 0.0 <= share <= 1.0 or (share == 0 and said != OBSERVE):
        raise ValueError(f"rollout is {said!r}, but it is `{OBSERVE}`, a share between 0 and 1, or 1; write `{OBSERVE}` where nothing is to follow what is learned")
    return share


LEAST_CANARY = 0.01


class Settings(BaseSettings):
    """All that a deployment sets."""

    model_config = SettingsConfigDict(env_prefix="EDDY_", env_nested_delimiter="__", toml_file="eddy.toml", extra="forbid", validate_default=True, hide_input_in_errors=True)

    # The broker and how to reach it.
    bootstrap: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    partitions: int = Field(default=8, ge=1, le=1024)
    replication_factor: int = Field(default=1, ge=1, le=16)
    max_record_bytes: int = Field(default=1_000_000, ge=10_000, le=100_000_000)

    # One process.
    data_dir: Path = Path(".eddy")
    instance: str = ""
    """Name of this worker among its siblings, kept over restarts: it makes its membership static. Empty: none."""
    metrics_host: str = "127.0.0.1"
    worker_port: int = Field(default=8601, ge=0, le=65535)
    learner_port: int = Field(default=8600, ge=0, le=65535)

    expose_state: bool = False
    """Whether a worker answers `/state` on its port with all that it holds: for tests."""

    # What makes the fold id: a change folds the retained log anew.
    classifier: str = "seed"
    tenants: Literal["shared", "apart"] = "shared"
    """Whether tenants learn from each other, or each from its own traces alone."""
    reward: str = "quality"
    """What arms are judged by: `quality`, `seed`, or an entry point of the group `eddy.rewards`."""
    horizon: int = Field(default=262_144, ge=1, le=2**24)
    max_classes: int = Field(default=1_000, ge=1)
    max_arms: int = Field(default=128, ge=1)
    keep_minutes: int = Field(default=30, ge=1)
    keep_hours: int = Field(default=24, ge=1)
    keep_days: int = Field(default=32, ge=1)
    silence: Literal["unknown", "failure"] = "unknown"
    """What a decision counts as whose trace does not come in time."""
    silence_s: int = Field(default=600, ge=1, le=30 * 86_400)

    # Durability.
    checkpoint_interval_s: float = Field(default=1.0, gt=0, le=60)
    checkpoint_records: int = Field(default=50_000, ge=1)
    session_timeout_s: float = Field(default=6.0, ge=1, le=300)

    # Deciding.
    arm: str = "model"
    """Which fields of an arm are routed over, by comma: `model`, `model,agent`, `model,agent,config`, …"""
    arms: tuple[DeclaredArm, ...] = ()
    default_arm: str = ""
    rollout: Annotated[float, BeforeValidator(read_rollout)] = 1.0
    """Share of requests that follow what is learned, given as `observe`, a share or 1; the default arm serves the rest."""
    policy: str = "thompson"
    sampler: Literal["maillard", "inverse_gap", "thompson"] = "maillard"
    min_evidence: int = Field(default=10, ge=1)
    """Scored traces an arm needs in a class before its draws follow its evidence."""
    exploration_share: float = Field(default=0.01, ge=0, le=1)
    max_unresolved: int = Field(default=200, ge=0)
    """Decisions of an arm that wait for their trace in a class, beyond which it is not explored further; 0: no limit."""
    rating_delay_s: float = Field(default=0.0, ge=0)
    """Age before which a trace's score counts for no arm."""
    half_life_s: float = Field(default=7 * 86_400.0, gt=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    max_cost_usd: float | None = Field(default=None, gt=0)
    max_latency_s: float | None = Field(default=None, gt=0)
    routing_max_staleness_s: float = Field(default=60.0, gt=0)
    routing_interval_s: float = Field(default=0.02, gt=0)
    """Least time between two publications of one class."""

    # Learning cycles.
    cycle_after_traces: int = Field(default=0, ge=0)
    """New traces since the last cycle after which the next one fires; 0: never by that, as for the five below."""
    cycle_after_rated: int = Field(default=0, ge=0)
    """The same, of traces with a score."""
    cycle_after_pairs: int = Field(default=0, ge=0)
    """The same, of traces whose score is `min_quality` or better, as many as the sums surely hold."""
    cycle_after_drop: float = Field(default=0.0, ge=0, le=1)
    """Fall of the mean score, confirmed by a test, after which one fires."""
    cycle_after_drift: float = Field(default=0.0, ge=0, le=1)
    """Change of a class's mean score, either way, confirmed by a test, after which one fires."""
    cycle_every_s: float = Field(default=0.0, ge=0)
    """Log time after which one fires if anything is new."""
    cycle_cooldown_s: float = Field(default=3_600.0, ge=0)
    """Log time between two cycles that fire by themselves, at least."""
    cycle_window_s: float = Field(default=3_600.0, ge=60)
    """Length of the window that says what the mean score is now."""
    cycle_false_alarm: float = Field(default=0.01, gt=0, lt=1)
    """Chance that the test of a fall, and that of all classes' drifts, ever confirms one where nothing has changed."""
    cycle_agents: dict[str, AgentThresholds] = {}
    """Thresholds of cycles over one agent alone, by its name; `*`: of each agent without its own."""
    config_dir: Path | None = None
    """Where the agents' live configuration is; `agent_configs` in the data folder when not given."""
    evaluator: str = ""
    """What scores a configuration: `module:function` or `command: …`. Without one, cycles stage and promote nothing."""
    promotion: Literal["auto", "approve"] = "auto"
    """Whether what its gate lets through goes live at once, or when a person says so."""
    promotion_level: float = Field(default=0.05, gt=0, lt=0.5)
    """Share of promotions that may be false, over all cycles."""
    evaluation_samples: int = Field(default=1_000, ge=1)
    """Samples of one evaluation, at most; a candidate that has not proved itself by then is discarded."""
    canary_share: float = Field(default=0.0, ge=0, le=0.05)
    """Part of an agent's requests, .01 to .05, that a changed configuration serves before it goes live; 0: none. EDDY_ARM must name agent and config."""
    canary_tools: bool = False
    """Whether that is so for changes of prompts and tools too."""
    canary_rewards: int = Field(default=1_000, ge=1)
    """Of a canary, at most; one that has not proved itself by then is discarded."""
    min_improvement: float = Field(default=0.02, ge=0, lt=1)
    """Of a score: what a gate asks of a candidate whose evaluator gives one number."""
    min_quality: float = Field(default=0.7, ge=0, le=1)
    """Of an answer that is learned from."""
    train_model: str = ""
    """Base model that cycles have adapters trained for; none when empty."""
    train_min_pairs: int = Field(default=200, ge=1)
    train_max_s: float = Field(default=86_400.0, gt=0)
    """How long a cycle waits for its training job."""
    cycle_max_s: float = Field(default=3_600.0, gt=0)
    cycle_max_bytes: int = Field(default=2_000_000_000, ge=50_000_000)
    """Resident memory of a cycle's process and all that it starts."""

    # Privacy, archive, embedded broker.
    query_text: Literal["full", "hashed", "none"] = "full"
    redact: bool = True
    """Whether secrets and personal data are taken out of what leaves the archive to be trained on."""
    redact_region: str = Field(default="US", pattern="^([A-Z]{2})?$")
    """Country whose telephone numbers are known without their country code; empty: of none."""
    archive_max_age_s: float = Field(default=90 * 86_400.0, gt=0)
    archive_max_bytes: int = Field(default=20_000_000_000, ge=1_000_000)
    broker_max_bytes: int = Field(default=2_000_000_000, ge=50_000_000)
    """Resident size at which the embedded broker is recycled."""

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        faults = []
        fields = [field.strip() for field in self.arm.split(",")]
        if unknown := [field for field in fields if field not in ("model", "agent", "config", "adapter")]:
            faults.append(f"arm names {unknown}, but an arm is made of model, agent, config, adapter")
        if self.security_protocol.startswith("SASL") and not self.sasl_username:
            faults.append("security_protocol asks for SASL, but sasl_username is empty; set EDDY_SASL_USERNAME and EDDY_SASL_PASSWORD")
        if self.arms and self.default_arm and self.default_arm not in {arm.id for arm in self.arms}:
            faults.append(f"default_arm {self.default_arm!r} is none of the declared arms {[arm.id for arm in self.arms]}")
        if self.rollout < 1 and not self.default_arm and not self.arms:
            faults.append("rollout leaves requests to the default arm, but there is none; set EDDY_DEFAULT_ARM, or EDDY_ROLLOUT=1")
        if 0 < self.canary_share < LEAST_CANARY:
            faults.append(f"canary_share is {self.canary_share}, but one that serves less than {LEAST_CANARY} of the requests takes for ever to prove itself; set 0 or more")
        if self.canary_share > 0 and not {"agent", "config_version"} <= set(self.arm_fields):
            faults.append("canary_share is set, but a canary is an arm of its own, told by agent and configuration; set EDDY_ARM=model,agent,config")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What outranks what: given fields, the environment, `eddy.toml`."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def keeps_tenants_apart(self) -> bool:
        """Whether a tenant's classes are classes of their own."""
        return self.tenants == "apart"

    @property
    def arm_fields(self) -> tuple[str, ...]:
        """The fields of `stream.records.Arm` that are routed over."""
        named = {field.strip() for field in self.arm.split(",")}
        return tuple(field for field, name in (("model", "model"), ("agent", "agent"), ("config_version", "config"), ("adapter", "adapter")) if name in named)

    @property
    def reward_without(self) -> tuple[str, ...]:
        """Quantities of the seed's reward that stand under a ceiling, and so leave it."""
        ceilings = {"cost": self.max_cost_usd, "latency": self.max_latency_s} if self.reward == "seed" else {}
        return tuple(name for name, ceiling in ceilings.items() if ceiling is not None)

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context for the broker, or None where the connection is plain."""
        if "SSL" not in self.security_protocol.replace("SASL", ""):
            return None
        context = ssl.create_default_context(cafile=str(self.ssl_cafile) if self.ssl_cafile else None)
        if self.ssl_certfile:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        return context

    @property
    def client_options(self) -> dict[str, Any]:
        """What every aiokafka client is given to reach the broker."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if "SSL" in self.security_protocol.replace("SASL", ""):
            options["ssl_context"] = self.ssl_context
        if self.security_protocol.startswith("SASL"):
            options |= {"sasl_mechanism": self.sasl_mechanism, "sasl_plain_username": self.sasl_username, "sasl_plain_password": self.sasl_password.get_secret_value()}
        return options


def load(**given: Any) -> Settings:
    """Read the settings.

    Args:
        given: fields that outrank environment and file.

    Raises:
        SettingsError: names every field that cannot be used, with the rule it breaks.
    """
    try:
        return Settings(**given)
    except ValidationError as exc:
        faults = "; ".join(f"{'EDDY_' + '__'.join(map(str, fault['loc'])).upper() if fault['loc'] else 'settings'}: {fault['msg']}" for fault in exc.errors())
        raise SettingsError(f"{exc.error_count()} setting(s) cannot be used: {faults}; correct them in the environment or in eddy.toml") from exc
    except UnreadableValueError as exc:
        raise SettingsError(f"a setting cannot be used ({exc}), but what is not one word or number must be JSON; correct it in the environment") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"eddy.toml cannot be read ({exc}), but it must be TOML; correct it there, or begin anew with `eddy init --force`") from exc
    except OSError as exc:
        raise SettingsError(f"eddy.toml cannot be opened ({exc.strerror}), but it is in this folder; make it readable, or take it away") from exc


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Find the variables that look like settings and are none: a typing error would go unnoticed else.

    Example:
        >>> unknown_variables(["EDDY_PARTITIONS", "EDDY_PARTITION", "HOME", "EDDY_TEST_BROKER"])
        ['EDDY_PARTITION']
    """
    return sorted(name for name in environment if name.startswith("EDDY_") and not OTHERS.fullmatch(name) and _field_of(name) not in Settings.model_fields)


def _field_of(variable: str) -> str:
    return variable.removeprefix("EDDY_").partition("__")[0].lower()
