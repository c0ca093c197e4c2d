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
        // Not every program tells everything.
        let told = |value: f64, digits: usize| match value {
            value if value.is_nan() => "-".to_owned(),
            value => format!("{value:.digits$}"),
        };
        write!(
            f,
            "{:11.0} {:>11} {:>9} {:13.2} {:14.2} {:16.1} {:16.1} {:>19} {:7.2}",
            self.e2e_mib_per_s,
            told(self.xfer_mib_per_s, 0),
            told(self.first_piece_ms, 1),
            self.seeder_cpu_secs,
            self.getters_cpu_secs,
            self.seeder_peak_mib,
            self.getter_peak_mib,
            told(self.seeder_copies, 2),
            self.others,
        )
    }
}
