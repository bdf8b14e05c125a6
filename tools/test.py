"""Test a checkpoint of any mmpretrain, mmdet or mmsegmentation config."""

import argparse

from mmengine.registry import METRICS

from lightvit_mm import cli
from lightvit_mm.engine.distributed import leave_process_group
from lightvit_mm.tta import augment_test


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_run_arguments(parser)
    cli.add_checkpoint(parser)
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation, by the config's tta_model and tta_pipeline; "
        'without them, with the image and its mirror image',
    )
    parser.add_argument('--out', help='save the predictions to this .pkl file')
    parser.add_argument(
        '--show-dir', help='save pictures of the predictions to this folder'
    )
    parser.add_argument(
        '--show', action='store_true', help='show the predictions in a window'
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds for which a window stays open; default %(default)s',
    )
    args = parser.parse_intermixed_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out {args.out} should end in .pkl')
    return args


@cli.short_errors()
def main() -> None:
    args = parse_args()
    cfg = cli.run_config(args, ('model', 'test_dataloader', 'test_evaluator'))
    if cfg.test_evaluator == [] and not (args.out or args.show or args.show_dir):
        raise SystemExit(
            'test_evaluator=[] has no metric, so the test would have no result: set '
            'one, or add --out or --show-dir'
        )
    checkpoint = cli.checkpoint_of(args, cfg)
    # load_from would not be strict, and a checkpoint that does not fit would be
    # tested with random weights.
    cfg.load_from = None
    cfg.resume = False
    # FlexibleRunner shards models for training and loads no weights before that.
    if cfg.get('runner_type') == 'FlexibleRunner':
        cfg.runner_type = 'Runner'
    if args.show or args.show_dir:
        cli.draw_predictions(cfg, args.show, args.show_dir, args.wait_time)
    if args.tta:
        augment_test(cfg)

    runner = cli.build_runner(cfg)
    runner.load_checkpoint(checkpoint, strict=True)
    if args.out:
        # mmdet's compresses masks.
        kind = 'DumpDetResults' if cfg.default_scope == 'mmdet' else 'DumpResults'
        dump = METRICS.build(dict(type=kind, out_file_path=args.out))
        runner.test_evaluator.metrics.append(dump)
    runner.test()


if __name__ == '__main__':
    main()
    leave_process_group()
