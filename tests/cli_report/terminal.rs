//! The terminal form, on a terminal that interprets what it is sent.

use shoal::cli::{Event, ExitCode, Failure, LinkRow, OutputConfig, Screen, Stream, Streams};

use crate::{
    PLAIN, Run, TERMINAL, about, at, done, get_summary, hashing, progress, seeding, start,
};

/// As much of a terminal as frames need.
#[derive(Default)]
struct Screenful {
    lines: Vec<String>,
    row: usize,
    column: usize,
}

impl Screenful {
    fn write(&mut self, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\r' => self.column = 0,
                '\n' => self.row += 1,
                '\u{1b}' => {
                    assert_eq!(characters.next(), Some('['), "{text:?}");
                    let mut number = String::new();
                    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                        number.push(digit);
                    }
                    self.control(characters.next(), number.parse().unwrap_or(0));
                }
                _ => self.put(character),
            }
        }
    }

    fn control(&mut self, command: Option<char>, number: usize) {
        match command {
            Some('A') => self.row -= number,
            Some('K') => self.cut(),
            Some('J') => {
                self.cut();
                self.lines.truncate(self.row + 1);
            }
            Some('m') => {}
            other => panic!("unexpected control {other:?}"),
        }
    }

    fn cut(&mut self) {
        if let Some(line) = self.lines.get_mut(self.row) {
            *line = line.chars().take(self.column).collect();
        }
    }

    fn put(&mut self, character: char) {
        while self.lines.len() <= self.row {
            self.lines.push(String::new());
        }
        let line = &mut self.lines[self.row];
        let mut characters: Vec<char> = line.chars().collect();
        characters.resize(characters.len().max(self.column + 1), ' ');
        characters[self.column] = character;
        *line = characters.into_iter().collect();
        self.column += 1;
    }

    fn shown(&self) -> Vec<String> {
        let lines = self.lines.iter().map(|line| line.trim_end().to_owned());
        let mut lines: Vec<String> = lines.collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

fn screen_of(run: &mut Run) -> Vec<String> {
    let mut screen = Screenful::default();
    for output in run.outputs() {
        screen.write(&output.bytes);
    }
    screen.shown()
}

#[test]
fn no_progress_and_a_dumb_terminal_get_plain_lines() {
    for config in [
        OutputConfig {
            progress: false,
            ..PLAIN
        },
        OutputConfig {
            dumb: true,
            ..PLAIN
        },
    ] {
        let mut run = Run::new(config, TERMINAL);
        for second in 0..60 {
            run.say(f64::from(second), progress(0, 1));
        }
        let text = run.text(Stream::Stderr);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(text.is_empty(), !config.progress);
    }
}

#[test]
fn a_terminal_shows_a_block_of_a_bar_and_the_peers() {
    let mut run = Run::new(PLAIN, TERMINAL);
    run.say(0.0, start(0, "vm.qcow2"))
        .say(12.0, progress(0, 1290));
    assert_eq!(
        screen_of(&mut run),
        [
            " 62% ━━━━━━━━━━━━━╸────────  5.04/8.00 GiB  ↓412 ↑388 MiB/s  ETA 0:08",
            " 14 peers (2 full) · rarest piece ×3",
        ]
    );
}

#[test]
fn a_terminal_shows_hashing_and_serving() {
    let mut run = Run::new(PLAIN, TERMINAL);
    run.say(0.0, hashing(6_100_000_000));
    assert_eq!(
        screen_of(&mut run),
        ["hashing ━━━━━━━━━━━━━━━━━━━━━━━━╸──────────  71%  1.4 GiB/s  ETA 0:02"]
    );
    run.say(
        1.0,
        Event::Shared {
            content: 0,
            about: about("vm.qcow2"),
            have: 2048,
            tracker: Some("tr:6969".to_owned()),
            magnet: "magnet:?xt=x".to_owned(),
            torrent: None,
        },
    )
    .say(2.0, seeding(36_077_725_286));
    assert_eq!(
        screen_of(&mut run),
        [
            "shared  vm.qcow2  8.00 GiB  2048 × 4 MiB  4f4f4f4f…",
            "get it: shoal-peer -t tr:6969 get vm.qcow2",
            "    or: magnet:?xt=x",
            "seeding ↑812 MiB/s → 6 peers · fleet 3/40 complete, mean 61% · ratio…",
        ]
    );
}

#[test]
fn verbose_adds_a_line_per_peer_up_to_ten() {
    let verbose = OutputConfig {
        verbosity: 1,
        ..PLAIN
    };
    let mut run = Run::new(verbose, TERMINAL);
    assert!(run.0.wants_links());
    let Event::Progress { mut progress, .. } = progress(0, 1290) else {
        unreachable!()
    };
    let link = |port: u16| LinkRow {
        addr: ([10, 0, 1, 17], port).into(),
        percent: 58,
        down_bytes_per_s: 71 << 20,
        up_bytes_per_s: 64 << 20,
    };
    progress.links = (995..1007).map(link).collect();
    run.say(0.0, start(0, "vm")).say(
        1.0,
        Event::Progress {
            content: 0,
            progress,
        },
    );
    let shown = screen_of(&mut run);
    assert_eq!(shown.len(), 13);
    assert_eq!(shown[2], " 10.0.1.17:995    58%  ↓71 ↑64 MiB/s");
    assert_eq!(shown[11], " 10.0.1.17:1004   58%  ↓71 ↑64 MiB/s");
    assert_eq!(shown[12], " … 2 more");
    assert!(!Run::new(PLAIN, TERMINAL).0.wants_links());
}

#[test]
fn lines_never_tear_the_block_even_if_frames_are_lost() {
    for lost in 0..8u32 {
        let mut run = Run::of_several(PLAIN, TERMINAL);
        run.say(0.0, start(0, "a")).say(0.0, start(1, "b"));
        for tick in 1..20 {
            let seconds = f64::from(tick);
            run.say(seconds, progress(0, 100))
                .say(seconds + 0.5, progress(1, 200));
            if tick == 10 {
                run.say(seconds, Event::Warning("something".to_owned()));
                run.0.fail(
                    at(seconds),
                    Some(0),
                    &Failure::new(ExitCode::Exists, "get a", "exists"),
                );
            }
            if tick == 15 {
                run.say(seconds, done(1, "b"));
            }
        }
        let mut screen = Screenful::default();
        for (number, output) in run.outputs().into_iter().enumerate() {
            // Loses a changing half of what may be lost.
            if !output.droppable || (number as u32).wrapping_mul(7 + lost) % 5 > 1 {
                screen.write(&output.bytes);
            }
        }
        run.0.finish(at(20.0), &get_summary());
        for output in run.outputs() {
            screen.write(&output.bytes);
        }
        assert_eq!(
            screen.shown(),
            [
                "shoal-peer: warning: something",
                "shoal-peer: get a: exists",
                "done b  8.00 GiB in 0:15 (546 MiB/s), verified",
            ],
            "{lost}"
        );
    }
}

#[test]
fn a_terminal_is_drawn_ten_times_a_second_at_most() {
    let mut run = Run::new(PLAIN, TERMINAL);
    run.say(0.0, start(0, "vm"));
    for tick in 0..1000 {
        run.say(f64::from(tick) / 1000.0, progress(0, tick));
    }
    let frames = run.outputs();
    assert_eq!(frames.len(), 10);
    assert!(frames.iter().all(|frame| frame.droppable));
}

#[test]
fn the_block_fits_every_terminal() {
    for columns in [0, 1, 2, 10, 40, 80, 300] {
        for rows in [0, 1, 2, 5, 50] {
            let streams = Streams {
                stderr: Some(Screen { columns, rows }),
                ..TERMINAL
            };
            let mut run = Run::of_several(
                OutputConfig {
                    verbosity: 1,
                    ..PLAIN
                },
                streams,
            );
            for content in 0..10 {
                run.say(0.0, start(content, &"世界".repeat(40)));
            }
            for content in 0..10 {
                run.say(content as f64, progress(content, 1000));
            }
            let frame = run.outputs().pop().unwrap();
            let mut screen = Screenful::default();
            screen.write(&frame.bytes);
            let shown = screen.shown();
            assert!(shown.len() < usize::from(rows.max(2)), "{columns}×{rows}");
            for line in shown {
                let wide = line.chars().filter(|c| "世界".contains(*c)).count();
                let width = line.chars().count() + wide;
                assert!(
                    width < usize::from(columns.max(2)),
                    "{columns}×{rows} {line}"
                );
            }
        }
    }
}

#[test]
fn a_terminal_that_grows_gets_longer_lines() {
    let mut run = Run::new(PLAIN, TERMINAL);
    run.say(0.0, start(0, "vm")).say(1.0, progress(0, 1000));
    let before = screen_of(&mut run)[0].chars().count();
    run.0.resize(Screen {
        columns: 85,
        rows: 24,
    });
    run.say(2.0, progress(0, 1000));
    assert_eq!(screen_of(&mut run)[0].chars().count(), before + 15);
}

#[test]
fn colour_is_left_out_where_it_is_not_wanted() {
    for color in [false, true] {
        let mut run = Run::new(OutputConfig { color, ..PLAIN }, TERMINAL);
        run.say(0.0, start(0, "vm")).say(1.0, progress(0, 1000));
        assert_eq!(run.text(Stream::Stderr).contains("\u{1b}[36m"), color);
    }
}
