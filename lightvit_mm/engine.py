"""Layer-wise learning rates, and training on any folder of class folders."""
from pathlib import Path
from typing import List

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.runner import Runner
from torch import nn

from .registry import OPTIM_WRAPPER_CONSTRUCTORS, RUNNERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with lower learning rates for early layers.

    The learning rate of a parameter is multiplied by ``layer_decay_rate **
    (num_layers - 1 - depth)``, where ``model.backbone.get_layer_depth`` gives
    the depth. It is ``num_layers - 1`` behind the backbone, so that a neck or
    a head keeps its rate. This works in a classifier, a detector and a
    segmentor alike, and with any of mmpretrain's backbones that have depths.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: ``layer_decay_rate``, in (0, 1], and the options of
            mmengine's constructor, with which it multiplies.

    Raises:
        ValueError: If ``layer_decay_rate`` is missing or out of range.
        TypeError: If an option is unknown, or if the model has no backbone
            with ``get_layer_depth``.
    """

    options = ('layer_decay_rate', 'custom_keys', 'bias_lr_mult',
               'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult',
               'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate')

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        unknown = sorted(set(self.paramwise_cfg) - set(self.options))
        if unknown:
            raise TypeError(f'paramwise_cfg has no option {", ".join(unknown)}'
                            f'; it takes {", ".join(self.options)}')
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if rate is None or not 0 < rate <= 1:
            raise ValueError('paramwise_cfg needs a layer_decay_rate in '
                             f'(0, 1], as 0.75, and has {rate}')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model, bare or wrapped for DDP."""
        optim_wrapper = super().__call__(model)
        model = getattr(model, 'module', model)
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(
                'Layer-wise learning rates need a model.backbone with '
                f'get_layer_depth; the backbone of {type(model).__name__} is '
                f'of type {type(backbone).__name__}')

        rate = self.paramwise_cfg['layer_decay_rate']
        names = {param: name for name, param in model.named_parameters()}
        for group in optim_wrapper.optimizer.param_groups:
            # mmengine's constructor makes a group of each parameter.
            name = names[group['params'][0]]
            depth, num_layers = backbone.get_layer_depth(name, 'backbone.')
            group['lr'] *= rate**(num_layers - 1 - depth)
            print_log(
                f'{name}: lr={group["lr"]:.3g}, layer {depth} of {num_layers}',
                logger='current')
        return optim_wrapper


@RUNNERS.register_module()
class ClassFolderRunner(Runner):
    """mmengine's runner for a data set of class folders.

    A tool builds its runner when all options are merged into the config.
    Hence ``data_root`` can be read here: the folder goes to the data sets,
    whose ``data_prefix`` is 'train' or 'val', and the number of its class
    folders to the head and the data preprocessor.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'ClassFolderRunner':
        """Build a runner from a config of a classifier.

        Args:
            cfg: Config with ``data_root``, the folder of train/CLASS/ and
                val/CLASS/; it is changed in place.

        Raises:
            FileNotFoundError: If a folder is missing or has no class folders.
            ValueError: If the classes of train and val differ.
        """
        classes = cls._class_folders(cfg.data_root, 'train')
        val_classes = cls._class_folders(cfg.data_root, 'val')
        if classes != val_classes:
            difference = sorted(set(classes) ^ set(val_classes))
            raise ValueError(
                f'The class folders in data_root={cfg.data_root} should be '
                'the same in train and val; in only one of them: '
                f'{", ".join(difference)}')

        cfg.model.head.num_classes = len(classes)
        cfg.data_preprocessor.num_classes = len(classes)
        for split in ('train', 'val', 'test'):
            dataloader = cfg.get(f'{split}_dataloader')
            # tools/train.py --no-validate
            if dataloader is not None:
                dataloader.dataset.data_root = cfg.data_root
        return super().from_cfg(cfg)

    @staticmethod
    def _class_folders(data_root: str, split: str) -> List[str]:
        folder = Path(data_root, split)
        classes = sorted(
            path.name for path in folder.glob('*') if path.is_dir())
        if not classes:
            raise FileNotFoundError(
                f'There is no class folder in {folder}. Set data_root, as by '
                '--cfg-options data_root=FOLDER, to a folder with images in '
                'train/CLASS/ and val/CLASS/.')
        return classes
