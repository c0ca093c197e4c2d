#!/usr/bin/python3
"""libtorrent as a seeder or a getter: libtorrent_peer.py TORRENT DIR PORT UP tuned|defaults

UP limits what it sends, in bytes a second; 0 is no limit. Prints DONE when it has everything, and goes on serving until
it is terminated. Nothing but the torrent's trackers introduces it to anybody; uTP and encryption are off."""
import os
import select
import signal
import sys

import libtorrent as lt

torrent, folder, port, up, preset = sys.argv[1:6]
settings = {}
if preset == "tuned":
    settings.update(lt.high_performance_seed())
    settings.update({
        "mixed_mode_algorithm": 0, "connections_limit": 8000, "unchoke_slots_limit": 500, "active_limit": 100,
        "active_seeds": 100, "active_downloads": 100, "connection_speed": 500, "torrent_connect_boost": 255,
        "max_out_request_queue": 5000, "max_allowed_in_request_queue": 5000, "request_queue_time": 3,
        "send_buffer_watermark": 5 << 20, "send_buffer_low_watermark": 1 << 20, "send_buffer_watermark_factor": 150,
        "max_queued_disk_bytes": 128 << 20, "aio_threads": 4, "hashing_threads": 1, "file_pool_size": 500,
        "seed_choking_algorithm": 0, "choking_algorithm": 0, "suggest_mode": 0,
        "send_socket_buffer_size": 4 << 20, "recv_socket_buffer_size": 4 << 20, "rate_limit_ip_overhead": False,
    })
settings.update({
    "listen_interfaces": f"127.0.0.1:{port}", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "in_enc_policy": 2, "out_enc_policy": 2, "allowed_enc_level": 1,
    "alert_mask": lt.alert.category_t.status_notification, "upload_rate_limit": 0, "download_rate_limit": 0,
    "min_announce_interval": 2,
})
session = lt.session({name: value for name, value in settings.items() if name in lt.default_settings()})
added = lt.add_torrent_params()
added.ti = lt.torrent_info(torrent)
added.save_path = folder
added.flags &= ~lt.torrent_flags.auto_managed
added.flags &= ~lt.torrent_flags.paused
# Not wait_for_alert(): the binding looks at the alert that it returns while the session may move it elsewhere.
woken, wakes = os.pipe2(os.O_NONBLOCK)
session.set_alert_fd(wakes)
handle = session.add_torrent(added)
if int(up):
    handle.set_upload_limit(int(up))
stopped = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopped.append(True))
while not stopped:
    if select.select([woken], [], [], 0.1)[0]:
        os.read(woken, 4096)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.torrent_finished_alert):
            print("DONE", flush=True)
