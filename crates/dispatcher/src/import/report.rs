//! The result of an import.

use std::fmt;

use klaroen_store::import::{Answer, Counts, Imported};
use klaroen_store::participants::ParticipantDraft;
use serde::Serialize;
use utoipa::ToSchema;

use super::grouping::{GatheredRow, too_many_places};
use super::row::CellProblem;

/// Errors that are named; more are counted.
const ERRORS_MAX: usize = 1_000;
/// Further rows that an error names; more are counted.
const FURTHER_MAX: usize = 100;
/// Characters of a cell that an error shows.
const VALUE_CHARACTERS_MAX: usize = 100;

/// One error in one row. It shows what the administrator sent, so it belongs in the response and never in a log.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RowError {
    /// The line of the file on which the row begins. The header is line 1.
    pub row: u64,
    /// The column. Empty if the error is about the whole row.
    pub column: String,
    /// The first 100 characters of the cell.
    pub value: String,
    /// The error in the cell.
    pub reason: String,
    /// Number of further rows with the same error in this column. They have no error of their own, since the mistake is in
    /// how the column was written.
    pub further: u64,
    /// The lines of the first 100 of these rows.
    pub further_rows: Vec<u64>,
}

/// The result of an import.
#[derive(Default, Serialize, ToSchema)]
pub struct ImportReport {
    /// Number of rows that were written or rejected, without the header and empty rows. If the import finished, these
    /// are all rows of the file.
    pub rows: u64,
    /// Number of participants that are new.
    pub created: u64,
    /// Number of participants that were changed.
    pub updated: u64,
    /// Number of participants that were the same before.
    pub unchanged: u64,
    /// Number of rows that were rejected.
    pub rejected: u64,
    /// The first 1,000 errors in the rejected rows.
    pub errors: Vec<RowError>,
}

// Not what the rows said.
impl fmt::Debug for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, rejected, .. } = self;
        f.debug_struct("ImportReport").field("rows", rows).field("rejected", rejected).finish_non_exhaustive()
    }
}

impl ImportReport {
    /// Leaves a row out.
    pub(super) fn reject(&mut self, row: u64, problems: Vec<CellProblem>) {
        self.rows += 1;
        self.rejected += 1;
        for CellProblem { column, value, reason, of_column } in problems {
            let same = |error: &&mut RowError| error.column == column && error.reason == reason;
            if let Some(error) = self.errors.iter_mut().find(same).filter(|_| of_column) {
                error.further += 1;
                if error.further_rows.len() < FURTHER_MAX {
                    error.further_rows.push(row);
                }
            } else if self.errors.len() < ERRORS_MAX {
                let value = value.chars().take(VALUE_CHARACTERS_MAX).collect();
                let column = column.to_owned();
                self.errors.push(RowError {
                    row,
                    column,
                    value,
                    reason,
                    further: 0,
                    further_rows: Vec::new(),
                });
            }
        }
    }

    /// Counts the rows of one registration, and reports every row that is wrong.
    pub(super) fn answered(&mut self, answer: &Answer, draft: &ParticipantDraft, rows: Vec<GatheredRow>) {
        for row in rows {
            let problem = match &answer.imported {
                Imported::Created | Imported::Updated | Imported::Unchanged => {
                    if !answer.too_many.contains(&row.place) {
                        self.rows += 1;
                        continue;
                    }
                    Some(too_many_places())
                }
                Imported::UnknownGroups(unknown) => unknown_groups(&row, unknown),
                refused => Some(refusal(refused, draft)),
            };
            self.reject(row.line, problem.into_iter().collect());
        }
    }

    pub(super) const fn count(&mut self, counts: Counts) {
        self.created = counts.created;
        self.updated = counts.updated;
        self.unchanged = counts.unchanged;
    }
}

/// Nothing for a row that is left out because of another one of the same participant.
fn unknown_groups(row: &GatheredRow, unknown: &[String]) -> Option<CellProblem> {
    let wrong: Vec<&str> =
        row.groups.iter().filter(|code| unknown.contains(code)).map(String::as_str).collect();
    let reason = "there is no such group".to_owned();
    (!wrong.is_empty()).then(|| CellProblem::new("groups", wrong.join(";"), reason))
}

fn refusal(refused: &Imported, draft: &ParticipantDraft) -> CellProblem {
    let external_id = || draft.external_id.clone().unwrap_or_default();
    let (column, value, reason) = match refused {
        Imported::Differs(column) => {
            let value = if *column == "phone" { draft.phone.expose() } else { draft.kind.as_str() };
            (*column, value.to_owned(), "differs from an earlier row with the same key")
        }
        Imported::NamedByNumber => {
            let reason = "an earlier row has the phone number of this participant and no external_id: give that \
                          row this external_id";
            ("external_id", external_id(), reason)
        }
        _ => {
            let reason = "is missing; an earlier row has this phone number and an external_id: use the same one \
                          here, or another one for another participant";
            ("external_id", external_id(), reason)
        }
    };
    CellProblem::new(column, value, reason)
}
