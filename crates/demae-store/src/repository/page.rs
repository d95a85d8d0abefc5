//! Lists in pages.

/// No page is longer, whatever its caller asks for.
pub const MAX_PAGE: u32 = 1_000;
/// Bytes of payloads, bodies and headers in a page; at least one item always is. A page that ends for this reason has a
/// next one.
pub const PAGE_BYTES: u64 = 1024 * 1024;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<C> {
    /// At most so many items; 1 to [`MAX_PAGE`].
    pub limit: u32,
    /// The end of the page before this one: [`Listing::next`] of the last call.
    pub after: Option<C>,
}

impl<C> Page<C> {
    /// The first page.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// The limit within its bounds.
    pub(super) fn bounded(&self) -> usize {
        self.limit.clamp(1, MAX_PAGE) as usize
    }

    /// How many rows to read: one more than are shown, which tells whether there is another page.
    pub(super) fn rows(&self) -> u64 {
        self.bounded() as u64 + 1
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T, C> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end of the list. A page may be short, or even empty, and still have a
    /// next one: a filtered list reads a bounded number of rows per page, and items of any size at most [`PAGE_BYTES`].
    pub next: Option<C>,
}

impl<T, C> Listing<T, C> {
    /// From the rows read with [`Page::rows`].
    pub(super) fn cut(items: Vec<T>, page: &Page<C>, cursor: impl FnOnce(&T) -> C) -> Self {
        Self::cut_by_size(items, page, |_| 0, cursor)
    }

    /// The same, where items are of `size` bytes: the page ends at [`PAGE_BYTES`].
    pub(super) fn cut_by_size(
        mut items: Vec<T>,
        page: &Page<C>,
        size: impl Fn(&T) -> u64,
        cursor: impl FnOnce(&T) -> C,
    ) -> Self {
        let kept = within(PAGE_BYTES, items.iter().map(size)).min(page.bounded());
        let more = items.len() > kept;
        items.truncate(kept);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }

    /// Of a page that was cut from `rows` rows up to the row `last`, some of which cannot be shown: what is behind them is
    /// on a next page all the same.
    pub(super) fn or_after(mut self, page: &Page<C>, rows: usize, last: Option<C>) -> Self {
        if rows > page.bounded() {
            self.next = self.next.or(last);
        }
        self
    }

    /// The same page of other items.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Listing<U, C> {
        Listing {
            items: self.items.into_iter().map(convert).collect(),
            next: self.next,
        }
    }

    /// The same page of items whose making can fail.
    pub fn try_map<U, E>(self, convert: impl FnMut(T) -> Result<U, E>) -> Result<Listing<U, C>, E> {
        let items = self.items.into_iter().map(convert).collect::<Result<_, _>>()?;
        Ok(Listing {
            items,
            next: self.next,
        })
    }
}

/// How many items of these sizes fit into `budget` bytes; the first always does.
pub(super) fn within(budget: u64, sizes: impl IntoIterator<Item = u64>) -> usize {
    let mut left = budget;
    let fits = |(place, size): &(usize, u64)| {
        let fits = *place == 0 || *size <= left;
        left = left.saturating_sub(*size);
        fits
    };
    sizes.into_iter().enumerate().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_bytes_and_has_a_next_one() {
        let page = Page::<usize>::first(10);
        let cut = |sizes: &[u64]| {
            let items: Vec<(usize, u64)> = sizes.iter().copied().enumerate().collect();
            let listing = Listing::cut_by_size(items, &page, |item| item.1, |item| item.0);
            (listing.items.len(), listing.next)
        };
        assert_eq!(cut(&[PAGE_BYTES, 1]), (1, Some(0)));
        assert_eq!(cut(&[PAGE_BYTES * 9, 1]), (1, Some(0)));
        assert_eq!(cut(&[PAGE_BYTES - 1, 1]), (2, None));
        assert_eq!(cut(&[1, PAGE_BYTES - 1, 1]), (2, Some(1)));
        assert_eq!(cut(&[0; 11]), (10, Some(9)));
        assert_eq!(cut(&[]), (0, None));
    }

    #[test]
    fn rows_that_cannot_be_shown_do_not_end_the_list() {
        let page = Page::<usize>::first(2);
        let cut = |shown: &[usize], rows: usize| {
            let listing = Listing::cut(shown.to_vec(), &page, |item| *item);
            let listing = listing.or_after(&page, rows, Some(rows));
            (listing.items, listing.next)
        };
        assert_eq!(cut(&[1, 2, 3], 3), (vec![1, 2], Some(2)));
        assert_eq!(cut(&[1, 3], 3), (vec![1, 3], Some(3)));
        assert_eq!(cut(&[], 3), (vec![], Some(3)));
        assert_eq!(cut(&[2], 2), (vec![2], None));
    }

    #[test]
    fn the_extra_row_is_not_shown_but_tells_of_a_next_page() {
        let page = Page {
            limit: 2,
            after: None,
        };
        let cut = |items: Vec<u32>| Listing::cut(items, &page, |item| *item);
        assert_eq!(page.rows(), 3);
        assert_eq!(
            cut(vec![]),
            Listing {
                items: vec![],
                next: None
            }
        );
        assert_eq!(
            cut(vec![1, 2]),
            Listing {
                items: vec![1, 2],
                next: None
            }
        );
        assert_eq!(
            cut(vec![1, 2, 3]),
            Listing {
                items: vec![1, 2],
                next: Some(2)
            }
        );
        assert_eq!(Page::<u32>::first(0).rows(), 2);
        assert_eq!(Page::<u32>::first(u32::MAX).rows(), u64::from(MAX_PAGE) + 1);
    }
}
