// Clips: filters, cards of those that differ most, and a table of all, one page of rows at a time.
const ROWS = 50, CARDS = 6;

function scoreLine(section, clip) {
  const gap = difference(clip, section);
  const spread = section.spread && section.spread[clip] !== null ? ' ± ' + figure(section.spread[clip]) : '';
  return element('tr', {class: section === currentSection() ? 'shown' : null},
    element('th', {scope: 'row'}, section.title),
    element('td', {}, figure(section.truth[clip]) + spread),
    element('td', {}, figure(predicted(clip, section))),
    element('td', {class: gap === null ? 'none' : directionOf(gap)}, gap === null ? '–' : signed(gap)));
}

function clipCard(clip) {
  const system = systemOf(clip), url = soundUrl(clip);
  const heads = ['', currentSection().spread ? 'Raters ± spread' : 'Raters', 'Predicted', 'Gap'];
  return element('li', {class: 'card'},
    element('p', {class: 'who'}, element('bdi', {}, data.ids[clip]), system ? ' · ' : '',
      system ? element('a', {href: systemLink(system)}, element('bdi', {}, system)) : null),
    element('p', {class: 'prompt', dir: 'auto', title: promptOf(clip)}, promptOf(clip) || 'No prompt is known.'),
    element('table', {'aria-label': 'Scores of ' + data.ids[clip]},
      element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', {scope: 'col'}, head)))),
      element('tbody', {}, ...data.sections.map((section) => scoreLine(section, clip)))),
    url ? element('audio', {controls: true, preload: 'none', src: url, 'aria-label': data.ids[clip]})
      : element('p', {class: 'who'}, 'No sound here.'));
}

function clipColumns(fixedSystem) {
  const section = currentSection();
  const number = (kind, label, value, shown = figure) => ({kind, label, value, cell: (clip) => {
    const found = value(clip);
    return element('td', {class: found === null ? 'none' : null}, found === null ? '–' : shown(found));
  }});
  const columns = [
    {kind: 'text', label: 'Clip', value: (clip) => data.ids[clip], class: 'label', cell: (clip) =>
      element('td', {class: 'label'}, element('span', {class: 'named'}, playButton(clip), element('bdi', {}, data.ids[clip])))},
    number('most', 'Difference', difference, signed),
    number('most', 'Raters', (clip) => section.truth[clip]),
    number('most', 'Predicted', predicted),
    {kind: 'text', label: 'System', value: systemOf, class: 'label', cell: (clip) =>
      element('td', {class: 'label'}, element('a', {href: systemLink(systemOf(clip))}, element('bdi', {}, systemOf(clip))))},
    {kind: 'text', label: 'Prompt', value: promptOf, class: 'text', cell: (clip) =>
      element('td', {class: 'text', dir: 'auto'}, promptOf(clip))},
    section.spread && number('most', 'Spread', (clip) => section.spread[clip]),
    section.count && number('most', 'Number', (clip) => section.count[clip], String),
    number('most', 'Size of difference', (clip) => Math.abs(difference(clip))),
  ];
  return columns.filter((column) => column && !(column.label === 'System' && (fixedSystem || !data.systems.length))
    && !(column.label === 'Prompt' && !data.prompts.length));
}

function clipList(home, fixedSystem) {
  const view = {page: 0, system: fixedSystem || '', words: '', sort: null};
  const count = element('p', {class: 'count', role: 'status'});
  const cards = element('ul', {class: 'cards'});
  const table = element('table', {}, element('thead', {}, element('tr')), element('tbody'));
  const scroll = scrollBox(table, {class: 'scroll clip-table', 'aria-label': 'All clips'});
  const pager = element('div', {class: 'pager'});
  const columns = clipColumns(fixedSystem);

  const chosen = () => {
    const words = view.words.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (clip) => {
      const text = (data.ids[clip] + '\n' + promptOf(clip)).toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return judgedClips().filter((clip) => (!view.system || systemOf(clip) === view.system) && matches(clip));
  };
  const drawRows = (clips) => {
    const sorted = [...clips];
    if (view.sort) {
      const compare = compareValues(view.sort.kind, view.sort.direction), value = view.sort.value;
      sorted.sort((a, b) => compare(value(a), value(b)));
    }
    const shown = sorted.slice(view.page * ROWS, (view.page + 1) * ROWS);
    table.tBodies[0].replaceChildren(...shown.map((clip) =>
      element('tr', {}, ...columns.map((column) => column.cell(clip)))));
    const step = (label, by, possible) => element('button', {type: 'button', class: 'button', disabled: !possible,
      onclick: () => { view.page += by; drawRows(clips); scroll.scrollIntoView({block: 'start'}); scroll.focus({preventScroll: true}); }}, label);
    const last = Math.min((view.page + 1) * ROWS, sorted.length);
    pager.replaceChildren(step('Previous', -1, view.page > 0), `${view.page * ROWS + 1} to ${last} of ${sorted.length}`,
      step('Next', 1, last < sorted.length));
    pager.hidden = sorted.length <= ROWS;
  };
  const draw = () => {
    const clips = chosen().sort((a, b) => Math.abs(difference(b)) - Math.abs(difference(a)));
    count.textContent = clips.length ? `${clips.length} of ${judgedClips().length} clips; the ${Math.min(CARDS, clips.length)} that differ most:`
      : 'No clip matches. Choose another system or fewer words.';
    cards.replaceChildren(...clips.slice(0, CARDS).map(clipCard));
    scroll.hidden = !clips.length;
    view.page = 0;
    drawRows(clips);
  };

  table.tHead.rows[0].append(...columns.map((column) => {
    const head = element('th', {scope: 'col', 'data-sort': column.kind, class: column.class});
    sortButton(head, column.label, (kind, direction) => {
      view.sort = {kind, direction, value: column.value};
      view.page = 0;
      drawRows(chosen().sort((a, b) => Math.abs(difference(b)) - Math.abs(difference(a))));
    });
    if (column.label === 'Size of difference') head.setAttribute('aria-sort', 'descending');
    return head;
  }));
  home.replaceChildren(clipFilters(view, fixedSystem, draw), count, cards, scroll, pager);
  draw();
}

function clipFilters(view, fixedSystem, draw) {
  const filters = element('form', {class: 'filters', 'aria-label': 'Filter', onsubmit: (event) => event.preventDefault()});
  if (!fixedSystem && data.systems.length) {
    const names = [...data.systems].sort(new Intl.Collator(undefined, {numeric: true}).compare);
    const select = element('select', {class: 'by-system', onchange: () => { view.system = select.value; draw(); }},
      element('option', {value: ''}, 'all systems'), ...names.map((name) => element('option', {value: name}, name)));
    filters.append(element('label', {}, 'System', select));
  }
  const input = element('input', {type: 'search', class: 'by-words', placeholder: data.prompts.length ? 'such as: calm piano' : data.ids[0],
    oninput: () => { view.words = input.value; draw(); }});
  filters.append(element('label', {}, data.prompts.length ? 'Clip id, or words in the prompt' : 'Clip id', input));
  return filters;
}
