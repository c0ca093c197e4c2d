//! The numbers of a transfer, as a line of a table.

use std::fmt;

/// Numbers of one run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Row {
    pub(crate) e2e_mib_per_s: f64,
    pub(crate) xfer_mib_per_s: f64,
    pub(crate) first_piece_ms: f64,
    pub(crate) seeder_cpu_secs: f64,
    pub(crate) getters_cpu_secs: f64,
    pub(crate) seeder_peak_mib: f64,
    pub(crate) getter_peak_mib: f64,
    pub(crate) seeder_copies: f64,
    pub(crate) others: f64,
}

impl Row {
    /// Of all processes but the tracker.
    pub(crate) fn cpu_secs(&self) -> f64 {
        self.seeder_cpu_secs + self.getters_cpu_secs
    }

    pub(crate) const HEADING: &str = "                         e2e MiB/s  xfer MiB/s  first ms  seeder CPU s  getters CPU s  \
                           seeder peak MiB  getter peak MiB  copies from seeder  others";

    fn fields(&mut self) -> [&mut f64; 9] {
        [
            &mut self.e2e_mib_per_s,
            &mut self.xfer_mib_per_s,
            &mut self.first_piece_ms,
            &mut self.seeder_cpu_secs,
            &mut self.getters_cpu_secs,
            &mut self.seeder_peak_mib,
            &mut self.getter_peak_mib,
            &mut self.seeder_copies,
            &mut self.others,
        ]
    }

    /// The median of each column by itself.
    pub(crate) fn median(rows: &[Self]) -> Self {
        let mut median = Self::default();
        for (column, field) in median.fields().into_iter().enumerate() {
            let mut values: Vec<f64> = rows
                .iter()
                .map(|&(mut row)| *row.fields()[column])
                .collect();
            values.sort_by(f64::total_cmp);
            *field = values[values.len() / 2];
        }
        median
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not every program tells it.
        let copies = match self.seeder_copies {
            copies if copies.is_nan() => "-".to_owned(),
            copies => format!("{copies:.2}"),
        };
        write!(
            f,
            "{:11.0} {:11.0} {:9.1} {:13.2} {:14.2} {:16.1} {:16.1} {:>19} {:7.2}",
            self.e2e_mib_per_s,
            self.xfer_mib_per_s,
            self.first_piece_ms,
            self.seeder_cpu_secs,
            self.getters_cpu_secs,
            self.seeder_peak_mib,
            self.getter_peak_mib,
            copies,
            self.others,
        )
    }
}
