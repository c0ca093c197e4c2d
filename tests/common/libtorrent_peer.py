"""A libtorrent session with one torrent: a file or a magnet link, a folder, where to listen; settings beside its own,
and "upload_bytes_per_second", which holds for peers on the same machine too.

Says what happens, one alert per line, by the name of its kind. Leaves its swarm at SIGINT or SIGTERM, and ends when it
is killed.
"""

import faulthandler
import json
import os
import select
import signal
import sys

import libtorrent

faulthandler.enable()
torrent, folder, listen, settings = sys.argv[1:5]
settings = json.loads(settings)
upload_bytes_per_second = settings.pop("upload_bytes_per_second", 0)
leaves = False


def leave(_signal, _frame):
    global leaves
    leaves = True


signal.signal(signal.SIGINT, leave)
signal.signal(signal.SIGTERM, leave)
kinds = libtorrent.alert.category_t
# What comes in masses and tells of no wrong.
quiet = (kinds.picker_log_notification | kinds.file_progress_notification | kinds.piece_progress_notification
         | kinds.block_progress_notification | kinds.progress_notification | kinds.upload_notification
         | kinds.stats_notification)
session = libtorrent.session({
    "listen_interfaces": listen,
    "alert_mask": kinds.all_categories & ~quiet,
    "alert_queue_size": 1_000_000,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    **settings,
})
if torrent.startswith("magnet:"):
    params = libtorrent.parse_magnet_uri(torrent)
else:
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(torrent)
params.save_path = folder
params.flags &= ~libtorrent.torrent_flags.auto_managed
params.flags &= ~libtorrent.torrent_flags.paused
# Not wait_for_alert(): the binding looks at the alert that it returns while the session may move it elsewhere.
woken, wakes = os.pipe2(os.O_NONBLOCK)
session.set_alert_fd(wakes)
handle = session.add_torrent(params)
handle.set_upload_limit(upload_bytes_per_second)
has_left = False
while True:
    if leaves and not has_left:
        # Trackers are told in the background, until this program is killed.
        handle.pause()
        has_left = True
    for alert in session.pop_alerts():
        try:
            message = alert.message()
        except UnicodeDecodeError:
            # Bytes of others, as they came.
            message = "is not UTF-8"
        print(type(alert).__name__, message, flush=True)
    if select.select([woken], [], [], 0.1)[0]:
        os.read(woken, 4096)
