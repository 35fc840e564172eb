"""After SLTarch (arXiv 2507.21499): level-of-detail search and splatting cores, sized for one's own scene.

Of the paper only the abstract could be read; every parameter beyond it is ours, and searched over.
"""
