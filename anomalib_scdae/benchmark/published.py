# SPDX-License-Identifier: Apache-2.0
"""Tables 1, 2 and 3 of the SCDAE paper as data: image AUROC in percent, as printed.

Nothing here was measured by this package. The averages are the printed ones and are never recomputed: in Table 1
those of SPADE and the structural one of STPM differ from the means of their own rows, and the paper prints no mean
for a single class.
"""

from dataclasses import dataclass

PAPER = (
    "Liang Xiao, Chen Ying: Knowledge distillation based spatial channel dual autoencoders for unsupervised anomaly "
    "detection, 2024 (in Chinese)"
)

#: The dataset of all three tables.
DATASET = "MVTec LOCO AD"

#: Its classes, named as Anomalib names the categories, in Table 1's order.
CATEGORIES = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")


@dataclass(frozen=True)
class PublishedFigures:
    """Image AUROC in percent.

    Args:
        logical: For logical anomalies.
        structural: For structural anomalies.
        mean: Mean of both as printed; ``None`` where the paper prints none.
    """

    logical: float
    structural: float
    mean: float | None = None


@dataclass(frozen=True)
class PublishedMethod:
    """A row of Table 1.

    Args:
        name: The method's name in the paper; ``SCDAE`` for the row that the paper calls "ours".
        reference: Where the method was published.
        average: Averages over the classes, as printed.
        categories: Category to figures, in Table 1's order; empty where the paper gives only averages.
        model: Class of the method, Anomalib's or one of :mod:`anomalib_scdae.benchmark.baselines`.
        remark: What we found when we compared the row with the original publication; no part of the paper.
        variants: Classes of the same method: with its defects mended, as Anomalib ships it, or for other backbones.
    """

    name: str
    reference: str
    average: PublishedFigures
    categories: dict[str, PublishedFigures]
    model: str
    remark: str | None = None
    variants: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedExperiment:
    """A row of Tables 2 and 3.

    Args:
        experiment: The paper's number of the experiment.
        dual_autoencoder: Whether two autoencoders run in parallel.
        srm: Whether the spatial reunion module is used.
        crm: Whether the channel reunion module is used.
        fusion: Whether the spatial-channel fusion module (SFM) is used.
        cosine: Whether the loss has its cosine term (CSF loss).
        average: Averages over the classes, as printed.
    """

    experiment: str
    dual_autoencoder: bool
    srm: bool
    crm: bool
    fusion: bool
    cosine: bool
    average: PublishedFigures

    @property
    def whole_architecture(self) -> bool:
        """Whether both autoencoders and both modules are used; Table 3 has one column for all of them."""
        return self.dual_autoencoder and self.srm and self.crm


def _method(
    name: str,
    reference: str,
    model: str,
    average: tuple[float, float, float],
    categories: tuple[tuple[float, float], ...] = (),
    remark: str | None = None,
    variants: tuple[str, ...] = (),
) -> PublishedMethod:
    classes = {category: PublishedFigures(*pair) for category, pair in zip(CATEGORIES, categories, strict=False)}
    return PublishedMethod(name, reference, PublishedFigures(*average), classes, model, remark, variants)


#: Table 1, in the paper's order.
TABLE_1: tuple[PublishedMethod, ...] = (
    _method(
        "SPADE",
        "Cohen and Hoshen, arXiv:2005.02357, 2020",
        "Spade",
        (69.0, 78.9, 74.0),
        ((81.8, 74.7), (91.9, 84.9), (60.5, 58.1), (46.8, 59.8), (73.8, 57.1)),
        "the averages are not the means of the row's classes, which are 71.0 / 66.9; elsewhere they are 70.9 / 66.8",
    ),
    _method(
        "STPM",
        "Wang et al., arXiv:2103.04257, 2021",
        "Stfpm",
        (66.4, 88.3, 77.4),
        ((68.9, 68.4), (82.9, 74.7), (59.5, 90.3), (55.5, 87.0), (65.4, 96.8)),
        "these are the figures of Student-Teacher (Bergmann et al., CVPR 2020) in other publications, which have 99.3 "
        "for juice_bottle's structural anomalies where the paper has 74.7",
    ),
    _method(
        "GCAD",
        "Bergmann et al., International Journal of Computer Vision 130(4), 2022",
        "Gcad",
        (86.0, 80.7, 83.4),
        ((87.0, 80.9), (100.0, 98.9), (97.5, 74.9), (56.0, 70.5), (89.7, 78.3)),
    ),
    _method(
        "SINBAD",
        "Cohen et al., arXiv:2302.12245, 2023",
        "Sinbad",
        (88.9, 84.7, 86.8),
        ((96.5, 87.5), (96.6, 93.1), (83.4, 74.2), (78.6, 92.2), (89.3, 76.7)),
    ),
    _method(
        "RD",
        "Deng and Li, CVPR 2022",
        "ReverseDistillation",
        (70.7, 85.1, 77.9),
        ((66.7, 60.3), (93.6, 95.2), (63.6, 84.8), (54.1, 89.2), (75.3, 95.9)),
        variants=("ReverseDistillationAdapted",),
    ),
    _method(
        "DADF",
        "Yao et al., arXiv:2303.17882, 2023",
        "Dadf",
        (79.2, 88.2, 83.7),
        ((75.8, 74.8), (98.7, 98.4), (76.7, 85.3), (66.2, 88.4), (78.6, 94.2)),
    ),
    _method("DSKD", "Zhang et al., WACV 2024", "DskdReconstruction", (81.2, 86.9, 84.0)),
    _method(
        "EfficientAD",
        "Batzner et al., WACV 2024",
        "EfficientAd",
        (86.7, 94.1, 90.4),
        ((85.0, 87.3), (97.5, 99.8), (96.7, 93.8), (57.8, 91.1), (96.7, 98.3)),
        variants=("EfficientAdMended", "EfficientAdAsShipped"),
    ),
    _method(
        "SCDAE",
        PAPER,
        "SCDAE",
        (89.4, 94.9, 92.1),
        ((85.5, 88.6), (99.6, 99.8), (98.7, 95.6), (65.9, 92.4), (97.4, 98.2)),
    ),
)


def _experiment(number: int, parts: str, logical: float, structural: float, mean: float) -> PublishedExperiment:
    used = parts.split()
    return PublishedExperiment(
        experiment=str(number),
        dual_autoencoder="dual" in used,
        srm="srm" in used,
        crm="crm" in used,
        fusion="fusion" in used,
        cosine="cosine" in used,
        average=PublishedFigures(logical, structural, mean),
    )


#: Every experiment of Tables 2 and 3 by its number.
EXPERIMENTS: dict[str, PublishedExperiment] = {
    row.experiment: row
    for row in (
        _experiment(1, "", 86.7, 94.1, 90.4),
        _experiment(2, "srm", 87.6, 94.2, 90.9),
        _experiment(3, "crm", 87.8, 94.0, 90.9),
        _experiment(4, "dual", 87.3, 94.5, 90.9),
        _experiment(5, "dual srm", 88.0, 94.5, 91.3),
        _experiment(6, "dual crm", 87.8, 94.8, 91.3),
        _experiment(7, "dual srm crm", 88.2, 94.6, 91.4),
        _experiment(8, "cosine", 87.0, 94.6, 90.8),
        _experiment(9, "dual srm crm fusion", 89.2, 94.7, 91.9),
        _experiment(10, "dual srm crm cosine", 88.4, 94.7, 91.5),
        _experiment(11, "dual srm crm fusion cosine", 89.4, 94.9, 92.1),
    )
}

#: Numbers of the experiments in Table 2 (SRM, CRM, parallel autoencoders), in the paper's order.
TABLE_2: tuple[str, ...] = ("1", "2", "3", "4", "5", "6", "7")

#: Numbers of the experiments in Table 3 (SFM, CSF loss), in the paper's order.
TABLE_3: tuple[str, ...] = ("1", "8", "7", "9", "10", "11")

#: The series variant of Fig. 8: CRM and SRM one after the other in one autoencoder. The paper shows only pictures.
SERIES = "series"


def published_method(model: str) -> PublishedMethod | None:
    """Give Table 1's row of an Anomalib model, or of a variant of one.

    Args:
        model: Class name or dotted path of the model.

    Returns:
        The row, or ``None`` if the paper has none for this model.
    """
    name = model.rsplit(".", 1)[-1].lower()
    return next((row for row in TABLE_1 if name in {known.lower() for known in (row.model, *row.variants)}), None)
