"""The common corruptions of CIFAR-10-C and CIFAR-100-C, made from clean images or downloaded.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations". The settings are CIFAR-10-C's; the code is not theirs. With the same random draws it
gives what their script gives (with OpenCV 5.0, ImageMagick 6.9.11, scikit-image 0.26), but for:

    all          a seed for each image, where theirs had none: so the draws are others
    frost        a texture like their photographs in color, contrast and spectrum, not in shapes
    spatter      at severity 3, water brighter than level 255, which is rare, stays white where
                 theirs begins again at 0
    some others  one level, where rounding decides: in 1 value of 14 (saturate at severity 3), of 25
                 (glass_blur at 2 and 4), of 50 or less (the rest)

Like theirs it does not always grow worse, as pixels differ, with severity: elastic_transform
changes most at severity 1, glass_blur less at 3 than at 1 and at 5 than at 4, motion_blur as much
at 4 as at 3, frost less at 4 than at 3, spatter about as much at 4 as at 3. saturate takes color
away at 1 and 2 and adds it from 3 on.
"""
