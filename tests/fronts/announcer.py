"""A libtorrent session with one torrent, which leaves its swarm when stdin ends, and ends when it is killed."""

import select
import sys

import libtorrent

torrent, folder, listen = sys.argv[1:4]
session = libtorrent.session({
    "listen_interfaces": listen,
    "alert_mask": libtorrent.alert.category_t.all_categories,
    "allow_multiple_connections_per_ip": True,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
})
params = libtorrent.add_torrent_params()
params.ti = libtorrent.torrent_info(torrent)
params.save_path = folder
params.flags &= ~libtorrent.torrent_flags.auto_managed
params.flags &= ~libtorrent.torrent_flags.paused
handle = session.add_torrent(params)
# One that is told to leave before the answer to its first announce has come leaves without a word.
is_known = False
while True:
    for alert in session.pop_alerts():
        print(alert.message(), flush=True)
        is_known = is_known or isinstance(alert, libtorrent.tracker_reply_alert)
    if select.select([sys.stdin], [], [], 0.05)[0] and is_known:
        break
handle.pause()
# Trackers are told in the background, until this program is killed.
while True:
    for alert in session.pop_alerts():
        print(alert.message(), flush=True)
    session.wait_for_alert(1000)
