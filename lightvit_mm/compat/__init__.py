"""Everything that this package changes in other libraries.

:data:`PATCHES` lists it all. ``import lightvit_mm`` calls :func:`install`, which
imports none of those libraries: each patch waits until its module is imported.

One change is not in the table: the substitute for mmcv's operators, which mmdet
needs before it imports this package. Where mmcv has none, ``lightvit_mm_finder``
provides :mod:`lightvit_mm.compat.mmcv_ext` under the name ``mmcv._ext``.
Remove that finder when mmcv has wheels with operators for current PyTorch.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NamedTuple


class Patch(NamedTuple):
    """A change to a module of another library.

    Args:
        module: The patch is applied as soon as this module is imported.
        function: FILE.FUNCTION in this folder; it gets that module.
        what: What it does.
        why: Why it is needed.
        versions: The versions that need it.
        until: When it can be removed.
    """

    module: str
    function: str
    what: str
    why: str
    versions: str
    until: str


PATCHES = (
    Patch(
        'mmengine.config.config',
        'configs.find_own_configs',
        "Lets configs inherit by _base_ = 'lightvit_mm::CONFIG.py'.",
        'mmengine knows a fixed list of packages, and only configs in subfolders.',
        'all of mmengine',
        'mmengine looks up configs of any installed package',
    ),
    Patch(
        'mmengine.config.utils',
        'configs.find_fork_configs',
        "Lets configs inherit by _base_ = 'mmdet::CONFIG.py' from the onedl fork.",
        'mmengine asks for the distribution mmdet; that of the fork is onedl-mmdet.',
        'the onedl fork',
        'the fork corrects mmengine.config.utils.MODULE2PACKAGE',
    ),
    Patch(
        'mmengine.infer.infer',
        'configs.find_inferencer_configs',
        "Lets DetInferencer and MMSegInferencer load 'lightvit_mm::CONFIG.py' with its "
        'published weights, folders of publish.py and hf://OWNER/NAME.',
        'mmengine looks for names in the model index of mmdet or mmseg only.',
        'all of mmengine',
        'mmengine looks up configs of any installed package, and models from Hugging '
        'Face',
    ),
    Patch(
        'mmengine.fileio.backends.local_backend',
        'files.refuse_endless',
        'Refuses pipes, devices, and JSON files that do not fit into memory.',
        'Training would wait forever for their content, or be killed.',
        'all of mmengine',
        'mmengine refuses them',
    ),
    Patch(
        'mmengine.fileio.handlers.pickle_handler',
        'files.unpickle_safely',
        'Refuses code in pickles, such as annotations and results of test.py.',
        'mmengine executes it.',
        'all of mmengine',
        'mmengine restricts what a pickle may contain',
    ),
    *(
        Patch(
            module,
            'files.unpickle_with_mmengine',
            f'Refuses code in pickles of {data}.',
            f'{module.partition(".")[0]} executes it.',
            f'all of {module.partition(".")[0]}',
            f'{module.partition(".")[0]} restricts what a pickle may contain',
        )
        for module, data in (
            ('mmseg.utils.io', "LoadBiomedicalData(decode_backend='pickle')"),
            ('mmpretrain.datasets.cifar', 'CIFAR10 and CIFAR100'),
        )
    ),
    Patch(
        'mmdet.datasets.openimages',
        'files.read_hierarchy_safely',
        'Refuses code in the hierarchy_file of OpenImagesChallengeDataset.',
        'mmdet executes it.',
        'all of mmdet',
        'mmdet restricts what the file may contain',
    ),
    Patch(
        'mmengine.fileio.handlers.yaml_handler',
        'files.read_yaml_safely',
        'Refuses code in YAML files.',
        'mmengine executes it.',
        'all of mmengine',
        "mmengine uses PyYAML's safe loader",
    ),
    Patch(
        'mmengine.logging.logger',
        'logs.escape_control_characters',
        'Escapes control characters in log messages.',
        'Names of classes and files may contain them and could control the terminal.',
        'all of mmengine',
        'mmengine escapes them',
    ),
    *(
        Patch(
            module,
            f'files.{function}',
            f'Adds the path to errors about a {what} that cannot be read.',
            "OpenCV's errors lack the path, or OpenCV raises none.",
            f'all of {module.partition(".")[0]}',
            f'{module.partition(".")[0]} names the path',
        )
        for module, function, what in (
            ('mmcv.transforms.loading', 'name_image', 'image'),
            ('mmseg.datasets.transforms.loading', 'name_mask', 'mask'),
        )
    ),
    Patch(
        'mmengine.fileio.backends.local_backend',
        'files.write_files_whole',
        'Writes a checkpoint to a temporary file, then renames it.',
        'A killed process or a full disk leaves an incomplete checkpoint.',
        'all of mmengine',
        'mmengine writes to a temporary file first',
    ),
    Patch(
        'mmengine.runner.checkpoint',
        'checkpoints.load_safely',
        'Reads checkpoints from files and all addresses without executing code.',
        'mmengine executes code from the web and, before PyTorch 2.6, from files; '
        'newer torch.load refuses the classes that mmengine writes.',
        'all of mmengine',
        'mmengine loads with weights_only=True from everywhere',
    ),
    Patch(
        'mmengine.runner.checkpoint',
        'checkpoints.register_addresses',
        'Makes mmengine load the addresses lightvit://tiny-in1k and so on.',
        'mmengine only knows schemes that imported code has registered.',
        'all of mmengine',
        'the weights are published at an address that mmengine knows',
    ),
    Patch(
        'mmengine.runner.checkpoint',
        'checkpoints.read_published_models',
        'Makes mmengine load folders of publish.py and hf://OWNER/NAME as checkpoints.',
        'mmengine loads single files only.',
        'all of mmengine',
        'mmengine loads models from Hugging Face',
    ),
    *(
        Patch(
            module,
            'hooks.turn_off_any',
            'Lets default_hooks=dict(NAME=None) turn off any hook.',
            'mmengine fails for hooks other than its own, such as exact_resume.',
            'all of mmengine',
            'mmengine skips every hook that is None',
        )
        for module in ('mmengine.runner.runner', 'mmengine.runner._flexible_runner')
    ),
    Patch(
        'mmengine.hooks.checkpoint_hook',
        'checkpoint_hook.start_in_work_dir',
        'Lets a resumed run delete checkpoints in its own folder only. Warns if a run '
        'overwrites others. Removes temporary files of killed processes.',
        'mmengine deletes the best checkpoint that the resumed file names, wherever '
        'it is.',
        'all of mmengine',
        'mmengine checks the path and the folder',
    ),
    Patch(
        'mmengine.hooks.checkpoint_hook',
        'checkpoint_hook.remove_after_saving',
        'Removes earlier checkpoints only when the new one is complete.',
        'With max_keep_ckpts=1 or save_best, no checkpoint is left if the process is '
        'killed or the disk is full.',
        'all of mmengine',
        'mmengine saves before it deletes, and writes last_checkpoint atomically',
    ),
    Patch(
        'mmengine.runner.runner',
        'checkpoints.resume_from_good_checkpoints',
        'Resumes from the last checkpoint that is not damaged, even if the folder was '
        'moved or last_checkpoint is missing.',
        'mmengine fails, or starts from the beginning and overwrites checkpoints.',
        'all of mmengine',
        'mmengine checks what last_checkpoint names',
    ),
    Patch(
        'mmengine.runner._flexible_runner',
        'checkpoints.resume_from_good_checkpoints',
        'The same for FlexibleRunner.',
        'The same as for Runner.',
        'all of mmengine',
        'mmengine checks what last_checkpoint names',
    ),
    Patch(
        'mmengine.hooks.ema_hook',
        'ema.average_once',
        'Lets EMAHook work with test-time augmentation, and test the average that '
        'training has computed.',
        'The hook takes the names of weights from the wrapper for augmentation, and '
        'starts a new average in each run.',
        'all of mmengine',
        'mmengine averages the wrapped model, once',
    ),
    *(
        Patch(
            module,
            'ema.load_before_run',
            'Lets EMAHook take a checkpoint that is loaded before the run starts.',
            'test.py loads the checkpoint first; the hook fails without its average.',
            f'all of {module.partition(".")[0]}',
            'EMAHook creates its average when a checkpoint is loaded',
        )
        for module in ('mmengine.hooks.ema_hook', 'mmpretrain.engine.hooks.ema_hook')
    ),
    Patch(
        'mmengine.infer.infer',
        'checkpoints.refuse_stored_configs',
        'Refuses inferencers without a config, such as DetInferencer(weights=FILE).',
        'They execute the config in the checkpoint.',
        'all of mmengine',
        'mmengine stores configs as data',
    ),
    Patch(
        'deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine',
        'deepspeed.load_safely',
        "Reads DeepSpeed's checkpoints without executing code.",
        'DeepSpeed executes it.',
        'all of DeepSpeed',
        'DeepSpeed loads with weights_only=True',
    ),
    Patch(
        'mmpretrain.apis.model',
        'configs.register_models',
        'Adds the models of model-index.yml to get_model and list_models. Lets '
        "get_model and inferencers load them by 'lightvit_mm::CONFIG.py', too.",
        'mmpretrain lists its own models only.',
        'all of mmpretrain',
        'mmpretrain finds the model-index.yml of other packages',
    ),
    Patch(
        'mmpretrain.apis.model',
        'configs.find_published_models',
        'Lets get_model and inferencers load folders of publish.py and hf://OWNER/NAME.',
        'mmpretrain looks for names in its list of models only.',
        'all of mmpretrain',
        'mmpretrain loads models from Hugging Face',
    ),
    Patch(
        'mmseg.models.losses.cross_entropy_loss',
        'losses.weigh_ignored_pixels',
        'Lets class_weight of CrossEntropyLoss work where pixels are ignored.',
        'mmseg looks up a weight for the label 255, which has none, and fails.',
        'mmseg 1.2',
        'mmseg releases what its onedl fork has corrected',
    ),
    Patch(
        'torch.distributed.rendezvous',
        'restarts.separate_attempts',
        'Lets processes connect after a restart by torchrun --max-restarts.',
        'They read the addresses of the ended processes and wait forever.',
        'PyTorch 2.11',
        'PyTorch creates a store or a prefix per restart',
    ),
    Patch(
        'torch.utils.data._utils.worker',
        'workers.end_cleanly',
        'Lets only the main process stop workers, and reports their errors to it.',
        'Ctrl-C and schedulers signal all processes, so workers would end before the '
        'checkpoint is saved. With a full /dev/shm, training would wait forever.',
        'all of PyTorch',
        'PyTorch reports errors of the queue and lets only the parent end workers',
    ),
)


class PatchFinder(MetaPathFinder):
    """Applies the patches of a module right after it has been executed."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The spec that the other finders find, with the patches added."""
        patches = [patch for patch in PATCHES if patch.module == name]
        if not patches:
            return None
        for finder in sys.meta_path:
            find_spec = None if finder is self else getattr(finder, 'find_spec', None)
            spec = find_spec and find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, 'exec_module'):
                    spec.loader = PatchingLoader(spec.loader, patches)
                return spec
        return None


class PatchingLoader(Loader):
    """Loads a module with its own loader, then patches it.

    A loader may be shared by several modules, so it is wrapped, not changed.

    Args:
        loader: The module's own loader.
        patches: What is applied to the module.
    """

    def __init__(self, loader: Loader, patches: Sequence[Patch]) -> None:
        self.loader = loader
        self.patches = patches

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module that its own loader creates."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then patch it."""
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        for patch in self.patches:
            apply(patch, module)


def apply(patch: Patch, module: ModuleType) -> None:
    """Apply a patch to its module."""
    file, function = patch.function.split('.')
    getattr(import_module(f'{__name__}.{file}'), function)(module)


def install() -> None:
    """Apply each patch, now or when its module is imported.

    A second call changes nothing.
    """
    if any(isinstance(finder, PatchFinder) for finder in sys.meta_path):
        return
    # It is missing where only the folder of this package is on the path.
    with suppress(ModuleNotFoundError):
        import lightvit_mm_finder  # noqa: F401

    sys.meta_path.insert(0, PatchFinder())
    for patch in PATCHES:
        if patch.module in sys.modules:
            # This waits if another thread is importing it.
            apply(patch, import_module(patch.module))
