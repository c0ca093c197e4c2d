//! How the cost of a transfer grows: with the getters, and with the pieces. All sizes in turn, in each round.

use crate::content::Place;
use crate::pairs::run_in_pieces;
use crate::place::MIB;
use crate::row::Row;
use crate::{BENCH, rows as table};

/// Rounds, at most: even one takes a minute.
const ROUNDS_MAX: usize = 3;

/// What grows while the file stays the same.
struct Growth {
    mib: u64,
    case: &'static str,
    of: &'static str,
    sizes: &'static [u64],
    /// The getters at a size, and bytes in a piece if the sharer does not choose.
    shape: fn(&Self, u64) -> (usize, Option<u64>),
}

const GROWTHS: [Growth; 2] = [
    Growth {
        mib: 64,
        case: "64 MiB to each of many",
        of: "getters",
        sizes: &[1, 2, 4, 8, 16, 32, 64],
        shape: |_, getters| (getters as usize, None),
    },
    Growth {
        mib: 2048,
        case: "2 GiB in many pieces",
        of: "pieces",
        sizes: &[512, 2_048, 8_192, 32_768, 131_072],
        shape: |growth, pieces| (1, Some(growth.mib * MIB / pieces)),
    },
];

/// Measures both.
pub(crate) fn measure(place: &Place, runs: usize) {
    for growth in &GROWTHS {
        growth.measure(place, runs.min(ROUNDS_MAX));
    }
}

impl Growth {
    fn measure(&self, place: &Place, rounds: usize) {
        place.fill(self.mib * MIB);
        println!("{}, {rounds} rounds", self.case);
        let mut found: Vec<Vec<Row>> = self.sizes.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (rows, &size) in found.iter_mut().zip(self.sizes) {
                let (getters, piece_bytes) = (self.shape)(self, size);
                rows.push(run_in_pieces(place, getters, piece_bytes));
            }
        }
        for (rows, &size) in found.iter().zip(self.sizes) {
            self.tell(rows, size);
        }
    }

    fn tell(&self, rows: &[Row], size: u64) {
        let (getters, _) = (self.shape)(self, size);
        let gib = (self.mib * getters as u64) as f64 / 1024.0;
        let median = Row::median(rows);
        println!(
            "{size:7} {}: {:6.2} CPU s/GiB, {:6.0} MiB/s together, {:4.0} MiB peak of a getter",
            self.of,
            median.cpu_secs() / gib,
            median.e2e_mib_per_s,
            median.getter_peak_mib
        );
        let put = |unit: &str, of: &dyn Fn(&Row) -> f64| {
            let (at, values) = ((self.of, size as f64), rows.iter().map(of));
            let values: Vec<f64> = values.collect();
            table::put_at(BENCH, self.case, at, table::OURS, unit, &values);
        };
        put("CPU s/GiB", &|row| row.cpu_secs() / gib);
        put("MiB/s", &|row| row.e2e_mib_per_s);
        put("MiB peak of a getter", &|row| row.getter_peak_mib);
    }
}
