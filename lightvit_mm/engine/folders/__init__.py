"""Read a folder of your own data: classes, annotations, images, masks.

One module for each kind of folder; none needs a library of OpenMMLab.
"""
