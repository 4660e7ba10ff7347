"""How good a model and its labels are: COCO's, VOC's and LVIS' numbers, intervals, mistakes, quality of labels."""
