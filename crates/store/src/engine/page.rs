//! Pages of a list: the cursor is the sort key of the last row, in a text that callers hand back as it is.
//!
//! A list asks for [`PageRequest::fetch`] rows, one more than the page holds: the extra row tells that there is more.

use uuid::Uuid;

use crate::engine::hex;
use crate::{Page, PageRequest, Result, StoreError};

/// No page is longer, whatever was asked for.
const LIMIT_MAX: u16 = 500;

impl PageRequest {
    /// How many rows to read: one more than the page holds.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.size()) + 1
    }

    /// The id after which the page begins; `None` for the first page.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::BadCursor`] if a list of this kind did not return the cursor.
    pub(crate) fn after_uuid(&self) -> Result<Option<Uuid>> {
        self.cursor.as_deref().map(decode_uuid).transpose()
    }

    /// The number after which the page begins; `None` for the first page.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::BadCursor`] if a list of this kind did not return the cursor.
    pub(crate) fn after_number(&self) -> Result<Option<i64>> {
        self.cursor.as_deref().map(decode_number).transpose()
    }

    /// The text after which the page begins; `None` for the first page.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::BadCursor`] if a list of this kind did not return the cursor.
    pub(crate) fn after_text(&self) -> Result<Option<String>> {
        self.cursor.as_deref().map(decode_text).transpose()
    }

    fn size(&self) -> u16 {
        self.limit.clamp(1, LIMIT_MAX)
    }
}

impl<T> Page<T> {
    /// A page of the rows that were read; `cursor` makes the cursor of the last row on the page.
    pub(crate) fn from_rows(
        mut rows: Vec<T>,
        request: &PageRequest,
        cursor: impl FnOnce(&T) -> String,
    ) -> Self {
        let size = usize::from(request.size());
        let more = rows.len() > size;
        rows.truncate(size);
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Self { items: rows, next_cursor }
    }
}

/// The cursor of a row that is sorted by its id.
pub(crate) fn uuid_cursor(id: Uuid) -> String {
    id.simple().to_string()
}

/// The cursor of a row that is sorted by a number.
pub(crate) fn number_cursor(number: i64) -> String {
    format!("{number:x}")
}

/// The cursor of a row that is sorted by a text.
pub(crate) fn text_cursor(text: &str) -> String {
    hex::encode(text.as_bytes())
}

fn decode_uuid(cursor: &str) -> Result<Uuid> {
    if cursor.len() != 32 {
        return Err(StoreError::BadCursor);
    }
    Uuid::try_parse(cursor).map_err(|_| StoreError::BadCursor)
}

/// The number of a cursor.
pub(crate) fn decode_number(cursor: &str) -> Result<i64> {
    let number = i64::from_str_radix(cursor, 16).map_err(|_| StoreError::BadCursor)?;
    if number_cursor(number) == cursor { Ok(number) } else { Err(StoreError::BadCursor) }
}

fn decode_text(cursor: &str) -> Result<String> {
    hex::decode(cursor).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(StoreError::BadCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(limit: u16, cursor: Option<&str>) -> PageRequest {
        PageRequest { limit, cursor: cursor.map(str::to_owned) }
    }

    #[test]
    fn only_a_full_page_with_more_behind_it_has_a_cursor() {
        let page = |rows: Vec<i64>| Page::from_rows(rows, &request(2, None), |n| number_cursor(*n));
        assert_eq!(page(vec![7, 8, 9]), Page { items: vec![7, 8], next_cursor: Some("8".into()) });
        assert_eq!(page(vec![7, 8]), Page { items: vec![7, 8], next_cursor: None });
        assert_eq!(page(vec![]), Page { items: vec![], next_cursor: None });
        assert_eq!(request(2, None).fetch(), 3);
    }

    #[test]
    fn the_size_of_a_page_is_bounded() {
        assert_eq!(request(0, None).fetch(), 2);
        assert_eq!(request(u16::MAX, None).fetch(), 501);
    }

    #[test]
    fn cursors_come_back_as_they_went() {
        let id = Uuid::from_u128(0x0192_f1e2_7c3b_7000_8000_0000_0000_00ab);
        assert_eq!(request(1, Some(&uuid_cursor(id))).after_uuid().unwrap(), Some(id));
        assert_eq!(request(1, Some(&number_cursor(4711))).after_number().unwrap(), Some(4711));
        assert_eq!(request(1, Some(&text_cursor("wijk-é"))).after_text().unwrap(), Some("wijk-é".into()));
        assert_eq!(request(1, None).after_uuid().unwrap(), None);
    }

    #[test]
    fn what_no_list_gave_is_refused() {
        for bad in ["", "x", "0192f1e2-7c3b-7000-8000-0000000000ab", "é", "zz".repeat(16).as_str()] {
            assert!(matches!(request(1, Some(bad)).after_uuid(), Err(StoreError::BadCursor)), "{bad}");
        }
        for bad in ["", "x", "+1", "01", "-", "FF", "ffffffffffffffffffff"] {
            assert!(matches!(request(1, Some(bad)).after_number(), Err(StoreError::BadCursor)), "{bad}");
        }
        for bad in ["a", "zz", "AB", "ff", "é"] {
            assert!(matches!(request(1, Some(bad)).after_text(), Err(StoreError::BadCursor)), "{bad}");
        }
    }
}
