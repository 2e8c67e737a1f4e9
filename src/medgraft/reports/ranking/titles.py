"""How a report calls the scores that rank sources."""

from __future__ import annotations

from medgraft.reports.wording import Score

TITLES = {
    "log_me": Score("LogME", "how probable the labels are under a Bayesian linear model of the features, per image."),
    "h_score": Score("H-score", "how far apart the classes' mean features lie, measured by the features' covariance."),
    "trans_rate": Score("TransRate", "how many more bits the features take together than class by class."),
    "gbc": Score("GBC", "how little the classes overlap when each is taken for a round Gaussian cloud."),
    "parc": Score("PARC", "whether images of one class look alike to the source, and others unlike."),
    "sfda": Score("SFDA", "how well classes separate once features are moved a little, as fine-tuning would."),
    "ncti": Score("NCTI", "how near the features are to the state in which training ends; among these sources only."),
    "leep": Score("LEEP", "how well the source's own classes foretell the labels."),
    "n_leep": Score("N-LEEP", "how well clusters of the features foretell the labels."),
    "nearest_neighbours": Score(
        "5 nearest neighbours",
        "the share of an image's nearest neighbours that are of its class; a baseline that a score must beat.",
    ),
    "linear_probe": Score(
        "linear probe",
        "AUROC of logistic regression on the features, cross-validated; a baseline that a score must beat.",
    ),
    "label_predictability": Score(
        "label predictability",
        "the share of neighbours with an image's label, in the projection that suits the labels best.",
    ),
    "feature_update": Score(
        "feature update", "how strongly the target pulls at the source's second convolution, compared with its first."
    ),
    "adaptability": Score(
        "adaptability", "label predictability times feature update, each scaled over these sources."
    ),
    "adaptability_of_architectures": Score(
        "adaptability (architectures)",
        "label predictability and feature update, each scaled over these architectures and reversed.",
    ),
    "performance_elsewhere": Score(
        "performance elsewhere", "how well the source did on the other targets; it never looks at this one."
    ),
    "pixel_leep": Score("LEEP of pixels", "how well the source's own classes foretell the masks, pixel by pixel."),
    "cc_fv": Score("CC-FV", "whether pixels of a class look alike in all images while features still vary within one."),
}  # fmt: skip


def score_title(name: str) -> str:
    """A score's title; one of another package is shown as it is.

    >>> score_title("log_me"), score_title("my_score")
    ('LogME', 'my score')
    """
    return TITLES[name].label if name in TITLES else name.replace("_", " ")
