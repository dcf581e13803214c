"""ROS 1 bags, ROS 2 bags (sqlite3, MCAP) and single MCAP or db3 files, read by the package `rosbags`.

`opened.py` has the file, `topics.py` what is in it; `clouds.py`, `pictures.py`, `lenses.py` and
`transforms.py` decode one kind of message each; `reader.py` makes sweeps of them.
"""

from pc3d.data.readers.bag.files import detect
from pc3d.data.readers.bag.options import add_options
from pc3d.data.readers.bag.reader import BagReader
from pc3d.data.readers.bag.topics import Topic, list_topics, topics_table

__all__ = ["BagReader", "Topic", "add_options", "detect", "list_topics", "topics_table"]
