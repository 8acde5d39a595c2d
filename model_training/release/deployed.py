"""The exported network: one module from the frame to all outputs, crop included, as the service runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model_training.data.tensors import frame_tensor
from model_training.evaluation.calibration import Calibration
from model_training.network.cin import NUM_BRANCHES, ClinicalInspiredNetwork, summed_probabilities
from model_training.network.crop import crop, crop_pairs
from model_training.network.lesion_area_attention import LesionLocator
from model_training.network.orientation import canonical_orientation, orient, restore, restore_boxes, restore_pairs
from service.bundle import FEATURES, TensorSpec

# Smaller tensors (biases, constants of the graph) save too little to be stored as float16.
MIN_HALF_PRECISION_SIZE = 1024


class DeployedCIN(nn.Module):
    """The whole network as the service runs it: uint8 frames ``[B, F, F, 3]`` to the outputs of the bundle contract."""

    def __init__(
        self,
        locator: LesionLocator | None,
        network: ClinicalInspiredNetwork,
        *,
        size: int,
        calibration: Calibration,
        canonical_orientation: bool = False,
    ) -> None:
        super().__init__()
        self.locator, self.network, self.size = locator, network, size
        self.canonical_orientation = canonical_orientation
        self.temperature: Tensor
        self.log_prevalence: Tensor
        self.register_buffer("temperature", calibration.temperature_N)
        self.register_buffer("log_prevalence", calibration.log_prevalence_K)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the order of :func:`output_specs`."""
        picture_B3FF = frame_tensor(image)
        how = canonical_orientation(picture_B3FF) if self.canonical_orientation else None
        if how is not None:
            picture_B3FF = orient(picture_B3FF, how)
        if self.locator is not None:
            attention_BSS, box_B4, fraction_B = self.locator(picture_B3FF)
        else:
            fraction_B = picture_B3FF.new_zeros(picture_B3FF.shape[0])
            attention_BSS = picture_B3FF.new_zeros(picture_B3FF.shape[0], self.size, self.size)
            box_B4 = picture_B3FF.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(picture_B3FF.shape[0], 4)
        views = self.network.views(picture_B3FF, attention_BSS, box_B4, self.size)
        branches = self.network.diagnose(views)
        logits_BNK = torch.stack([branch.logits_BK for branch in branches], dim=1)
        probabilities_BK, branch_BNK = summed_probabilities(logits_BNK, self.temperature, self.log_prevalence)
        spatial = [b.spatial_BCHW.mean(dim=1) for b in branches if b.spatial_BCHW is not None]
        correlation = [b.correlation_BMM for b in branches if b.correlation_BMM is not None]
        if spatial and self.network.with_whole:
            spatial[1] = crop(spatial[1].unsqueeze(1), box_B4, spatial[1].shape[2]).squeeze(1)
            correlation[1] = crop_pairs(correlation[1], box_B4)
        maps = [torch.stack(spatial, dim=1), torch.stack(correlation, dim=1)] if spatial and correlation else []
        if how is not None:
            attention_BSS = restore(attention_BSS.unsqueeze(1), how).squeeze(1)
            box_B4 = restore_boxes(box_B4, how)
            maps = [restore(maps[0], how), restore_pairs(maps[1], how)] if maps else []
        attention_uint8 = (attention_BSS * 255.0).round().to(torch.uint8)
        outputs = [probabilities_BK, branch_BNK, attention_uint8, box_B4, fraction_B, *maps]
        outputs.append(torch.stack([branch.early_BC for branch in branches], dim=1))
        return tuple(outputs)

    @property
    def num_features(self) -> int:
        """The number of features per branch from which the feature distance is computed."""
        return self.network.own_branches()[0].features.num_early_channels


def output_specs(*, num_classes: int, size: int, num_features: int, with_feature_attention: bool) -> list[TensorSpec]:
    """The graph's outputs, in order."""
    side = size // 32
    specs = [
        ("probabilities", "float32", [num_classes], "mean of both branches' probabilities; sums to 1"),
        ("branch_probabilities", "float32", [2, num_classes], "calibrated softmax of each branch"),
        ("lesion_attention", "uint8", [size, size], "lesion area attention over the whole image, 0 to 255"),
        ("crop_box", "float32", [4], "x0, y0, x1, y1 as fractions of the whole image"),
        (
            "lesion_fraction",
            "float32",
            [],
            "the lesion's share of the image; 0: none found, whole image used",
        ),
    ]
    if with_feature_attention:
        specs += [
            (
                "spatial_attention",
                "float32",
                [2, side, side],
                "Q of Eqn 1, mean over channels, in the crop's frame",
            ),
            ("correlation_attention", "float32", [2, side**2, side**2], "P of Eqn 2, in the crop's frame"),
        ]
    named = [TensorSpec(name=n, dtype=t, shape=["batch", *s], meaning=m) for n, t, s, m in specs]
    meaning = "pooled features of the first three residual layers of each branch"
    shape: list[int | str] = ["batch", NUM_BRANCHES, num_features]
    return [*named, TensorSpec(name=FEATURES, dtype="float32", shape=shape, meaning=meaning)]


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every BatchNorm2d into the Conv2d registered right before it, in evaluation mode, in place."""
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None and isinstance(previous[1], nn.Conv2d):
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1].eval(), child.eval()))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
        previous = (name, child)


def round_weights(module: nn.Module) -> None:
    """Round the weights to float16 values, in place; the tensors stay float32."""
    for parameter in module.parameters():
        if parameter.numel() >= MIN_HALF_PRECISION_SIZE:
            parameter.data = parameter.data.half().float()
