"""The views of the published methods as parameter sections, for tests; the recipes in params/training hold the same."""

from scantling.augment.settings import ViewParams

_PLACED = {"short_px": [60, 90], "long_px": 120, "flip_horizontal": 0.5}

SOFT_TEACHER = {
    "labeled": {**_PLACED, "antialias": False, "color": {}},
    "weak": {**_PLACED, "antialias": False},
    "strong": {
        **_PLACED,
        "antialias": False,
        "color": {},
        "geometric": {"probability": 1.0, "translate": 0.1, "rotate_degrees": 30, "shear_degrees": 30},
        "erase": {"count": [1, 4], "side": [0, 0.2], "same_share": True},
    },
}
UNBIASED_TEACHER = {
    "labeled": {"short_px_choices": [64, 72, 80], "long_px": 120, "flip_horizontal": 0.5},
    "weak": {"short_px_choices": [64, 72, 80], "long_px": 120, "flip_horizontal": 0.5},
    "strong": {
        "same_geometry": True,
        "jitter": {"probability": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        "gray": 0.2,
        "blur": {"probability": 0.5, "sigma_px": [0.1, 2.0]},
        "erase_areas": [
            {"probability": 0.7, "area": [0.05, 0.2], "aspect": [0.3, 3.3]},
            {"probability": 0.5, "area": [0.02, 0.2], "aspect": [0.1, 6]},
            {"probability": 0.3, "area": [0.02, 0.2], "aspect": [0.05, 8]},
        ],
    },
}
_JITTER = {"probability": 0.8, "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
CO_MINING = {
    "labeled": {**_PLACED},
    "weak": {**_PLACED},
    "strong": {"same_geometry": True, "jitter": _JITTER},
}
CO_STUDENT = {
    "raw": {"short_px": [80, 80], "long_px": 120},
    "labeled": {**_PLACED},
    "weak": {**_PLACED, "jitter": _JITTER},
    "strong": {
        **SOFT_TEACHER["strong"],
        "antialias": True,
        "geometric": {
            "probability": 1.0,
            "operations": ["translate_x", "shear_x", "shear_y"],
            "translate": 0.1,
            "rotate_degrees": 0,
            "shear_degrees": 30,
        },
    },
}
SPARSEDET = {
    "labeled": {**_PLACED},
    "weak": {**_PLACED},
    "strong": {
        "same_geometry": True,
        "before_resize": True,
        "jitter": {
            "probability": 1.0,
            "contrast": 0.5,
            "brightness": 0.5,
            "saturation": 0.5,
            "order": ["contrast", "brightness", "saturation"],
        },
        "lighting": 1.2,
        "erase_box": {"probability": 1.0, "area": [0.4, 0.7], "aspect": [0.3, 3.3]},
    },
}
OWN = {  # what the recipes of the small data sets use beside that
    "labeled": {**_PLACED, "flip_vertical": 0.5, "zoom": {"probability": 1.0, "factor": [0.75, 1.4]}, "fill": 0},
    "weak": {"exact_px": [70, 80], "zoom": {"probability": 0.5, "factor": [0.75, 1.4]}},
    "strong": {"same_geometry": True, "geometric": SOFT_TEACHER["strong"]["geometric"], "random_order": False},
}
VIEWS = {
    name: ViewParams.model_validate(section)
    for name, section in {
        "soft_teacher": SOFT_TEACHER,
        "unbiased_teacher": UNBIASED_TEACHER,
        "co_mining": CO_MINING,
        "co_student": CO_STUDENT,
        "sparsedet": SPARSEDET,
        "own": OWN,
    }.items()
}
