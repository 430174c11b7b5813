"""Which modules mutants are drawn from, how many, and which tests are to notice them."""

# How many mutants of each folder.
DRAWN = {
    "cheblienet/train": 50,
    "cheblienet/data": 40,
    "cheblienet/experiments": 60,
    "cheblienet/nn/models": 20,
    "scripts": 5,
}

_EFFECTS = "tests/experiments/test_flag_effects.py"
_PROGRAMS = "tests/experiments/test_image_programs.py"

# The tests of a module, the quickest first, as pytest takes them.
TESTS = {
    "cheblienet/train/best.py": ["tests/train/test_validation.py"],
    "cheblienet/train/capture.py": ["tests/train/test_capture.py", "tests/train/test_captured_fit.py"],
    "cheblienet/train/checkpoint.py": ["tests/train/test_engine.py", "tests/train/test_survival.py"],
    "cheblienet/train/distributed.py": [_PROGRAMS, "tests/train/test_distributed.py", "-k", "device or distributed"],
    "cheblienet/train/engine.py": [
        "tests/train/test_engine.py",
        "tests/train/test_validation.py",
        "tests/train/test_captured_fit.py",
    ],
    "cheblienet/train/evaluation.py": [
        "tests/train/test_validation.py",
        "tests/train/test_engine.py",
        "tests/train/test_distributed.py",
    ],
    "cheblienet/train/interrupt.py": ["tests/train/test_validation.py", "tests/train/test_engine.py"],
    "cheblienet/train/metrics.py": ["tests/train/test_metrics.py", "tests/train/test_distributed.py"],
    "cheblienet/train/optimizer.py": [
        "tests/train/test_schedules.py",
        "tests/train/test_capture.py",
        "tests/train/test_captured_fit.py",
    ],
    "cheblienet/train/options.py": ["tests/train/test_captured_fit.py", "tests/train/test_engine.py"],
    "cheblienet/train/pictures.py": ["tests/train/test_pictures.py"],
    "cheblienet/train/recorder.py": ["tests/train/test_recorder.py"],
    "cheblienet/train/records.py": ["tests/train/test_engine.py", "tests/train/test_survival.py"],
    "cheblienet/train/sampling.py": ["tests/train/test_engine.py", "tests/train/test_distributed.py"],
    "cheblienet/train/schedules.py": ["tests/train/test_schedules.py"],
    "cheblienet/train/task.py": ["tests/train/test_engine.py"],
    "cheblienet/data/artc.py": ["tests/data/test_artc.py"],
    "cheblienet/data/climatenet.py": ["tests/data/test_climatenet.py", "tests/data/test_converted_files.py"],
    "cheblienet/data/image_sets.py": ["tests/data/test_image_sets.py", "tests/data/test_image_files.py"],
    "cheblienet/data/images.py": ["tests/nn/test_models.py", "tests/data/test_image_files.py"],
    "cheblienet/data/netcdf.py": ["tests/data/test_netcdf.py"],
    "cheblienet/data/resample.py": ["tests/data/test_resample.py"],
    "cheblienet/data/splits.py": ["tests/data/test_splits.py"],
    "cheblienet/data/statistics.py": ["tests/data/test_statistics.py"],
    "cheblienet/data/synthetic.py": [
        "tests/data/test_artc.py",
        "tests/data/test_climatenet.py",
        "tests/experiments/test_artc.py",
    ],
    "cheblienet/experiments/anisotropy.py": ["tests/experiments/test_anisotropy.py"],
    "cheblienet/experiments/anisotropy_study.py": [
        _EFFECTS,
        "tests/experiments/test_anisotropy.py",
        "-k",
        "study or table",
    ],
    "cheblienet/experiments/arguments.py": [_EFFECTS, "tests/experiments/test_flags.py", "-k", "mnist or resumed"],
    "cheblienet/experiments/artc.py": [_EFFECTS, "tests/experiments/test_artc.py", "-k", "artc"],
    "cheblienet/experiments/cifar10.py": [_PROGRAMS, _EFFECTS, "-k", "cifar10 or configurations"],
    "cheblienet/experiments/classification.py": [_PROGRAMS, "tests/data/test_image_files.py"],
    "cheblienet/experiments/dense_tasks.py": ["tests/experiments/test_dense_tasks.py"],
    "cheblienet/experiments/flags.py": ["tests/experiments/test_flags.py"],
    "cheblienet/experiments/mnist.py": [_PROGRAMS, _EFFECTS, "-k", "mnist or configurations or sampled"],
    "cheblienet/experiments/parser.py": ["tests/experiments/test_config.py"],
    "cheblienet/experiments/photograph.py": ["tests/experiments/test_photograph.py"],
    "cheblienet/experiments/protocol.py": [_PROGRAMS, "tests/cli/test_train.py"],
    "cheblienet/experiments/rotated_digits.py": ["tests/experiments/test_rotated_digits.py"],
    "cheblienet/experiments/rotated_study.py": [
        "tests/experiments/test_flags.py",
        "tests/experiments/test_rotated_digits.py",
        _EFFECTS,
        "-k",
        "rotated or study",
    ],
    "cheblienet/experiments/run.py": ["tests/experiments/test_flags.py", "tests/cli/test_train.py"],
    "cheblienet/experiments/search_cifar10.py": [_PROGRAMS, _EFFECTS, "-k", "search_cifar10"],
    "cheblienet/experiments/search_mnist.py": [_PROGRAMS, _EFFECTS, "-k", "search_mnist"],
    "cheblienet/experiments/segmentation.py": ["tests/experiments/test_artc.py"],
    "cheblienet/experiments/sphere_digits.py": ["tests/experiments/test_sphere_digits.py"],
    "cheblienet/experiments/sphere_study.py": [
        _EFFECTS,
        "tests/experiments/test_sphere_digits.py",
        "-k",
        "study or sphere",
    ],
    "cheblienet/experiments/stl10.py": [_PROGRAMS, _EFFECTS, "-k", "stl10 or configurations"],
    "cheblienet/experiments/study.py": ["tests/experiments/test_study.py"],
    "cheblienet/experiments/summary.py": [_PROGRAMS],
    "cheblienet/experiments/sweep.py": [_PROGRAMS, _EFFECTS, "-k", "search"],
    "cheblienet/nn/models/__init__.py": ["tests/nn/test_models.py", "tests/nn/test_unet.py"],
    "cheblienet/nn/models/unet.py": ["tests/nn/test_unet.py", "tests/nn/test_options.py"],
    "cheblienet/nn/models/wide_res.py": ["tests/nn/test_models.py", "tests/nn/test_options.py"],
    "scripts/demo.py": ["tests/scripts/test_demo.py"],
    **{
        f"scripts/{name}.py": ["tests/scripts/test_programs.py", "-k", name]
        for name in ("hpo_cifar10", "hpo_mnist", "train_artc", "train_cifar10", "train_mnist", "train_stl10")
    },
}
