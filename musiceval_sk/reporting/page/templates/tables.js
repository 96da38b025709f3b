// Tables that sort by a click, or Enter or Space, on the head of a column. What is missing stays last either way.
const FIRST = {text: 'ascending', least: 'ascending', most: 'descending'};

function compareValues(kind, direction) {
  const sign = direction === 'ascending' ? 1 : -1;
  const missing = (value) => value === null || value === '' || Number.isNaN(value);
  const order = new Intl.Collator(undefined, {numeric: true});
  return (a, b) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return sign * (kind === 'text' ? order.compare(a, b) : a - b);
  };
}

function sortButton(head, label, pressed) {
  const button = element('button', {type: 'button', onclick: () => {
    const kind = head.dataset.sort, now = head.getAttribute('aria-sort');
    const other = now === 'ascending' ? 'descending' : 'ascending';
    const direction = now ? other : FIRST[kind];
    for (const sibling of head.parentNode.children) sibling.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', direction);
    pressed(kind, direction);
  }}, label);
  head.replaceChildren(button);
}

function makeSortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.dataset.sort) return;
    sortButton(head, head.textContent, (kind, direction) => {
      const compare = compareValues(kind, direction);
      const value = (row) => {
        const text = row.cells[column].dataset.value;
        return kind === 'text' || text === '' ? text : Number(text);
      };
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
    });
  });
}

// A box says so where its table is wider than itself.
const widths = new ResizeObserver((seen) => seen.forEach(({target}) => {
  const box = target.closest('.scroll');
  box?.classList.toggle('wide', box.scrollWidth > box.clientWidth + 1);
}));
function scrollBox(table, attributes) {
  const box = element('div', {class: 'scroll', role: 'region', tabindex: '0', ...attributes}, table);
  watchWidth(box);
  return box;
}
function watchWidth(box) {
  widths.observe(box);
  widths.observe(box.firstElementChild);
}

document.querySelectorAll('table.sortable').forEach(makeSortable);
document.querySelectorAll('.scroll').forEach(watchWidth);
