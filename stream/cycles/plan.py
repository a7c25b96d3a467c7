"""What cycles of a deployment go by, as one value that their process is handed: no process of a cycle reads settings or talks to the broker."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from stream.archive.schema import ARCHIVE_FILE
from stream.cycles.tables import LEDGER_FILE
from stream.fold.spec import FoldSpec
from stream.routing.settings import RoutingSettings

if TYPE_CHECKING:
    from stream.settings import Settings

Promotion = Literal["auto", "approve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a cycle depends on besides the archive and the live configuration.

    Attributes:
        data_dir: where the ledger and the cycles' own folders are.
        archive: the archive's file.
        config_dir: the agents' live configuration.
        evaluator: `module:function` or `command: …`; empty: nothing can evaluate, and nothing is promoted.
        promotion: whether what its gate lets through is promoted at once, or waits for a person's word.
        level: share of promotions, in (0, 1), that may be false over all cycles.
        max_pairs: samples of an evaluation, beyond which a candidate that has not proved itself is discarded.
        min_improvement: of a candidate's mean score, in [0, 1].
        canary_share: part of an agent's requests, in [0, .05], that a changed configuration serves before it goes live; 0: none.
        canary_tools: whether that is so for changes of prompts and tools too.
        canary_rewards: of a canary, beyond which one that has not proved itself is discarded.
        min_quality: of an answer that is learned from, in [0, 1].
        min_pairs: answers that an adapter is trained on at the least.
        redact: whether secrets and personal data are taken out of what is trained on.
        redact_region: country whose telephone numbers are known without their country code.
        base_model: that adapters are trained for; empty: none are.
        train_s: how long a cycle waits for its training job, seconds.
        max_bytes: resident memory of a cycle's process and of what it starts.
        max_s: how long one process may take, seconds.
        routing: the settings of routing as they are.
        spec: of the fold.
        classifier: the name of the one that classes queries.
    """

    data_dir: Path
    archive: Path
    config_dir: Path
    evaluator: str = ""
    promotion: Promotion = "auto"
    level: float = 0.05
    max_pairs: int = 1_000
    min_improvement: float = 0.0
    canary_share: float = 0.0
    canary_tools: bool = False
    canary_rewards: int = 1_000
    min_quality: float = 0.7
    min_pairs: int = 200
    redact: bool = True
    redact_region: str = "US"
    base_model: str = ""
    train_s: float = 86_400.0
    max_bytes: int = 2_000_000_000
    max_s: float = 3_600.0
    routing: RoutingSettings
    spec: FoldSpec
    classifier: str = "seed"

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """Take what concerns cycles out of the deployment's settings; paths are made absolute, since a cycle's process may stand elsewhere."""
        data_dir = settings.data_dir.absolute()
        return cls(
            data_dir=data_dir,
            archive=data_dir / ARCHIVE_FILE,
            config_dir=settings.config_dir.absolute() if settings.config_dir else data_dir / "agent_configs",
            evaluator=settings.evaluator,
            promotion=settings.promotion,
            level=settings.promotion_level,
            max_pairs=settings.evaluation_samples,
            min_improvement=settings.min_improvement,
            canary_share=settings.canary_share,
            canary_tools=settings.canary_tools,
            canary_rewards=settings.canary_rewards,
            min_quality=settings.min_quality,
            min_pairs=settings.train_min_pairs,
            redact=settings.redact,
            redact_region=settings.redact_region,
            base_model=settings.train_model,
            train_s=settings.train_max_s,
            max_bytes=settings.cycle_max_bytes,
            max_s=settings.cycle_max_s,
            routing=RoutingSettings.of(settings),
            spec=FoldSpec.of(settings),
            classifier=settings.classifier,
        )

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.data_dir / LEDGER_FILE

    def folder(self, cycle_id: str) -> Path:
        """The folder that a cycle has for itself while it lasts."""
        return self.data_dir / "cycles" / folder_name(cycle_id)


def folder_name(cycle_id: str) -> str:
    """Name a folder after a cycle; a cycle id is another process's word, so nothing of it is a path.

    Example:
        >>> folder_name("manual-1700000000-ab12"), folder_name("../x")
        ('manual-1700000000-ab12', 'cycle-d6b96a97d147daaa')
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", cycle_id):
        return cycle_id
    return f"cycle-{hashlib.sha256(cycle_id.encode(errors='replace')).hexdigest()[:16]}"


def encode(plan: Plan) -> str:
    """Write a plan for another process."""
    return msgspec.json.encode(plan, enc_hook=str).decode()  # a path is the only thing that JSON does not know


def decode(text: str) -> Plan:
    """Read it there."""
    return msgspec.json.decode(text, type=Plan, dec_hook=lambda kind, value: kind(value))
