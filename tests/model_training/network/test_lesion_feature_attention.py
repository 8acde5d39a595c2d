"""Eqns 1 to 3 against literal loops in float64, and what the paper leaves to the reader."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from model_training.config import NetworkConfig
from model_training.evaluation.module_figures import effective_columns
from model_training.network.lesion_feature_attention import (
    AttentionForm,
    LesionFeatureAttention,
    correlation_normalisation,
    spatial_normalisation,
)
from model_training.training.recognition import build_network


def literal_eqn_1(f: Tensor) -> Tensor:
    """q_ij = f_ij / sum over i', j' of f_i'j', channel by channel."""
    q = torch.zeros_like(f)
    for b in range(f.shape[0]):
        for c in range(f.shape[1]):
            total = sum(float(f[b, c, i, j]) for i in range(f.shape[2]) for j in range(f.shape[3]))
            for i in range(f.shape[2]):
                for j in range(f.shape[3]):
                    q[b, c, i, j] = float(f[b, c, i, j]) / total
    return q


def literal_eqn_2(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """p_ij = exp(e_ij) / sum over i', j' of exp(e_i'j') with e = F F^T."""
    p = torch.zeros(query.shape[0], query.shape[1], key.shape[1], dtype=torch.float64)
    for b in range(query.shape[0]):
        e = [[scale * sum(float(x * y) for x, y in zip(q, k, strict=True)) for k in key[b]] for q in query[b]]
        total = sum(math.exp(value) for row in e for value in row)
        for i, row in enumerate(e):
            for j, value in enumerate(row):
                p[b, i, j] = math.exp(value) / total
    return p


def test_eqn_1_is_the_literal_one() -> None:
    torch.manual_seed(0)
    f = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(spatial_normalisation(f), literal_eqn_1(f), atol=1e-6, rtol=0)
    torch.testing.assert_close(spatial_normalisation(f).sum(dim=(2, 3)), torch.ones(2, 3).double(), atol=1e-6, rtol=0)


def test_eqn_1_of_a_dead_map_is_zero_not_nan() -> None:
    assert spatial_normalisation(torch.zeros(1, 2, 3, 3)).eq(0).all()


@pytest.mark.parametrize(("form", "scale"), [("literal", 1.0), ("stabilised", 0.5)])
def test_eqn_2_is_the_literal_one(form: AttentionForm, scale: float) -> None:
    torch.manual_seed(1)
    query, key = torch.randn(2, 6, 4), torch.randn(2, 6, 4)  # scale 1/sqrt(4)
    expected = literal_eqn_2(query.double(), key.double(), scale)
    torch.testing.assert_close(correlation_normalisation(query, key, form).double(), expected, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("form", ["row", "cosine"])
def test_row_forms_sum_to_one_in_each_row(form: AttentionForm) -> None:
    p = correlation_normalisation(torch.randn(2, 6, 4), torch.randn(2, 6, 4), form)
    torch.testing.assert_close(p.sum(dim=2), torch.ones(2, 6))


def test_cosine_form_cannot_collapse_whatever_the_features() -> None:
    """The least even rows: one key along the query, all others against it, however long they are."""
    query = torch.full((1, 49, 4), 1000.0)
    key = -query.clone()
    key[:, 0] *= -1
    assert float(effective_columns(correlation_normalisation(query, key, "cosine"))) > 8
    assert float(effective_columns(correlation_normalisation(query, key, "row"))) < 1.1


def test_large_features_overflow_the_naive_exponential_but_not_ours() -> None:
    query = torch.full((1, 4, 64), 4.0)
    assert torch.isinf(torch.exp((query @ query.transpose(1, 2)).half())).all()
    p = correlation_normalisation(query, query, "literal")
    torch.testing.assert_close(p.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("form", ["literal", "stabilised", "row", "cosine"])
def test_eqn_3_is_the_literal_one(form: AttentionForm) -> None:
    torch.manual_seed(2)
    attention = LesionFeatureAttention(16, form)
    with torch.no_grad():
        attention.alpha.fill_(0.7)
        attention.beta.fill_(-0.3)
    f = torch.rand(2, 16, 3, 3)
    attended, q, p = (tensor.detach() for tensor in attention(f))
    spatial_gain = 1 if form == "literal" else 9
    correlation_gain = 9 if form == "stabilised" else 1
    expected = torch.zeros_like(f, dtype=torch.float64)
    for b in range(2):
        flat = f[b].double().reshape(16, 9)
        for c in range(16):
            for m in range(9):
                i, j = divmod(m, 3)
                related = sum(float(p[b, m, n]) * float(flat[c, n]) for n in range(9))
                spatial = float(q[b, c, i, j]) * float(f[b, c, i, j])
                expected[b, c, i, j] = 0.7 * spatial_gain * spatial - 0.3 * correlation_gain * related + f[b, c, i, j]
    torch.testing.assert_close(attended.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["literal", "stabilised", "row"])
def test_alpha_and_beta_start_at_zero_and_make_the_identity(form: AttentionForm) -> None:
    features = torch.randn(2, 16, 4, 4)
    attended = LesionFeatureAttention(16, form)(features)
    assert torch.equal(attended.features_BCHW, features)
    assert attended.spatial_BCHW.shape == (2, 16, 4, 4)
    assert attended.correlation_BMM.shape == (2, 16, 16)


def test_they_may_start_elsewhere() -> None:
    config = NetworkConfig(attention_start=0.5)
    network = build_network(config, 3)
    values = {float(value) for name, value in network.named_parameters() if name.endswith(("alpha", "beta"))}
    assert values == {0.5}
    torch.manual_seed(4)
    started, plain = LesionFeatureAttention(16, "stabilised", start=0.5), LesionFeatureAttention(16, "stabilised")
    plain.load_state_dict({**started.state_dict(), "alpha": torch.tensor(0.0), "beta": torch.tensor(0.0)})
    features = torch.rand(1, 16, 3, 3)
    attended, q, p = started(features)
    related = torch.einsum("bmn,bcn->bcm", p, features.flatten(2)).view_as(features)
    torch.testing.assert_close(attended - plain(features).features_BCHW, 4.5 * (q * features + related))
