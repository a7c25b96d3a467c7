"""The loss is what its definition says, whatever else shares the batch."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM

from stream.errors import TrainingError
from stream.training.losses import Batch, Scorer, collate, evaluate, packing_difference, prove_isolation
from stream.training.samples import IGNORED, Sample
from tests.training.tiny import make_model

WORDS = 97


def samples(count: int = 6, seed: int = 0) -> list[Sample]:
    rng = random.Random(seed)
    made = []
    for place in range(count):
        ids = [rng.randrange(WORDS) for _ in range(rng.randint(5, 40))]
        labels = [IGNORED if at < 3 or rng.random() < 0.3 else token for at, token in enumerate(ids)]
        made.append(Sample(ids, [*labels[:-1], ids[-1]], "", weight=rng.choice((0.25, 1.0)), pair=place))
    return made


def slow_loss(model: torch.nn.Module, sample: Sample) -> float:
    """Token by token: minus the log of the probability that the model gives it after all that stands before it, times the weight."""
    total = 0.0
    for place in range(1, len(sample)):
        if sample.labels[place] != IGNORED:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([sample.input_ids[:place]]), use_cache=False).logits[0, -1].double()
            total -= float(torch.log_softmax(logits, -1)[sample.labels[place]]) * sample.weight
    return total


class ForgetfulScorer(Scorer):
    """The broken twin: rows are packed, but positions run on, so that samples see each other."""

    def logits(self, batch: Batch) -> torch.Tensor:
        return super().logits(Batch(batch.input_ids, batch.attention_mask, None, batch.targets, batch.at, batch.weights))


@pytest.mark.parametrize("is_packed", [False, True])
def test_loss_is_the_definitions(is_packed: bool) -> None:
    """Padded or packed, with weights: the sum over single tokens, each from a pass of its own, to a hundred-thousandth."""
    model, data = make_model(WORDS).eval(), samples()
    scorer = Scorer(model, "cpu")

    loss = float(scorer.loss(collate(data, "cpu", is_packed=is_packed)).detach())

    assert loss == pytest.approx(sum(slow_loss(model, sample) for sample in data), rel=1e-5)


def test_packed_bucketed_and_single_logits_agree() -> None:
    """A sample means the same to the model whoever shares its row or its batch: to 1e-5 in float32."""
    scorer, data = Scorer(make_model(WORDS).eval(), "cpu"), samples(20)

    with torch.no_grad():
        alone = torch.cat([scorer.logits(collate([sample], "cpu")) for sample in data])
        bucketed = scorer.logits(collate(data, "cpu"))

    assert float((bucketed - alone).abs().max()) < 1e-5
    assert packing_difference(scorer, data) < 1e-5
    assert prove_isolation(scorer, data) < 1e-5


def test_packing_is_refused_where_samples_see_each_other() -> None:
    """The proof is no proof if it passes a model that attends across."""
    with pytest.raises(TrainingError, match="packed samples change each other's logits"):
        prove_isolation(ForgetfulScorer(make_model(WORDS).eval(), "cpu"), samples())


def test_head_that_scales_its_logits_is_not_taken_for_a_plain_one() -> None:
    """Granite divides its logits by 8: going round its head would train on others than it answers with."""
    torch.manual_seed(0)
    config = GraniteConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, logits_scaling=8.0)
    model, data = GraniteForCausalLM(config).eval(), samples(3)

    loss = float(Scorer(model, "cpu").loss(collate(data, "cpu")).detach())

    assert loss == pytest.approx(sum(slow_loss(model, sample) for sample in data), rel=1e-5)


def test_held_out_measure_is_unweighted_and_by_pair() -> None:
    """Held-out losses are compared over runs whose weights may differ, and a gate compares pair by pair."""
    model, data = make_model(WORDS).eval(), samples()

    found = evaluate(Scorer(model, "cpu"), data, 64)

    tokens = {sample.pair: sample.supervised_tokens for sample in data}
    assert found.tokens == tokens
    assert found.loss == pytest.approx(sum(slow_loss(model, sample) / sample.weight for sample in data) / sum(tokens.values()), rel=1e-5)
    assert 0 <= found.accuracy <= 1
