// Systems: a table of all, and a page for each.
const NO_SYSTEMS = 'The clips of this study do not name their systems. With a clips table that does (option --clips), they are listed here.';

function systemRows() {
  const groups = data.systems.map((name) => ({name, clips: []}));
  for (const clip of judgedClips()) if (data.system[clip] >= 0) groups[data.system[clip]].clips.push(clip);
  const rows = groups.filter((group) => group.clips.length).map((group) => {
    const truth = mean(group.clips.map((clip) => currentSection().truth[clip]));
    const guess = mean(group.clips.map((clip) => predicted(clip)));
    return {...group, truth, guess, gap: guess - truth};
  });
  // Equal means share the better place.
  const place = (key) => (row) => 1 + rows.filter((other) => other[key] > row[key] + 1e-9).length;
  rows.forEach((row) => { row.place = place('truth')(row); row.guessedPlace = place('guess')(row); });
  return rows.sort((a, b) => a.place - b.place);
}

function drawSystems() {
  const home = byId('systems-body'), rows = systemRows();
  if (!rows.length) return home.replaceChildren(element('p', {class: 'empty'}, data.systems.length ? 'This predictor predicts no clip of a named system.' : NO_SYSTEMS));
  const columns = [['System', 'text'], ['Difference', 'most'], ['Raters', 'most'], ['Predicted', 'most'], ['Place', 'least'],
    ['Predicted place', 'least'], ['Clips', 'most']];
  const cell = (value, shown, attributes) => element('td', {'data-value': value, ...attributes}, shown);
  const table = element('table', {},
    element('thead', {}, element('tr', {}, ...columns.map(([label, kind]) => element('th', {scope: 'col', 'data-sort': kind}, label)))),
    element('tbody', {}, ...rows.map((row) => element('tr', {},
      element('th', {scope: 'row', 'data-value': row.name}, element('a', {href: systemLink(row.name)}, element('bdi', {}, row.name))),
      cell(row.gap, signed(row.gap), {class: directionOf(row.gap)}), cell(row.truth, figure(row.truth)),
      cell(row.guess, figure(row.guess)), cell(row.place, String(row.place)),
      cell(row.guessedPlace, String(row.guessedPlace)), cell(row.clips.length, String(row.clips.length))))));
  makeSortable(table);
  home.replaceChildren(scrollBox(table, {'aria-label': 'Systems'}));
}

function scatter(clips) {
  const xs = clips.map((clip) => currentSection().truth[clip]), ys = clips.map((clip) => predicted(clip));
  const low = Math.floor(Math.min(...xs, ...ys)), high = Math.max(low + 1, Math.ceil(Math.max(...xs, ...ys)));
  const at = (value) => 44 + 236 * (value - low) / (high - low), up = (value) => 300 - at(value) - 12;
  const svg = shape('svg', {viewBox: '0 0 290 290', class: 'plot', role: 'img',
    'aria-label': 'Predicted against raters’ scores of this system’s clips'});
  svg.append(shape('rect', {x: 44, y: 8, width: 236, height: 236}));
  svg.append(shape('line', {x1: 44, y1: 244, x2: 280, y2: 8, 'stroke-dasharray': '4 4'}));
  const step = Math.max(1, Math.ceil((high - low) / 6));
  for (let tick = low; tick <= high; tick += step) {
    svg.append(shape('text', {x: at(tick), y: 260, 'text-anchor': 'middle'}, tick));
    svg.append(shape('text', {x: 36, y: up(tick) + 4, 'text-anchor': 'end'}, tick));
  }
  svg.append(shape('text', {x: 162, y: 282, 'text-anchor': 'middle'}, 'raters'));
  svg.append(shape('text', {x: -126, y: 14, transform: 'rotate(-90)', 'text-anchor': 'middle'}, 'predicted'));
  clips.forEach((_, i) => svg.append(shape('circle', {cx: at(xs[i]), cy: up(ys[i]), r: 4, class: 'dot'})));
  return svg;
}

function drawSystem(name) {
  const home = byId('system-body'), rows = systemRows(), place = rows.findIndex((row) => row.name === name);
  byId('system-title').textContent = name;
  if (place < 0) return home.replaceChildren(element('p', {class: 'empty'}, 'No system of that name has clips here. '), element('a', {href: '#/systems'}, 'All systems'));
  const row = rows[place];
  const fact = (label, text) => element('div', {}, element('dt', {}, label), element('dd', {}, text));
  const step = (other, label) => other && element('a', {class: 'button', href: systemLink(other.name)}, label, element('bdi', {}, other.name));
  const list = element('div');
  home.replaceChildren(
    element('p', {class: 'steps'}, element('a', {class: 'button', href: '#/systems'}, 'All systems'),
      step(rows[place - 1], 'Better: '), step(rows[place + 1], 'Worse: ')),
    element('div', {class: 'summary'}, scatter(row.clips), element('dl', {class: 'facts'},
      fact('Raters’ mean', `${figure(row.truth)}, place ${row.place} of ${rows.length}`),
      fact(`Mean predicted by ${currentPredictor()}`, `${figure(row.guess)}, place ${row.guessedPlace} of ${rows.length}`),
      fact('Difference', `${signed(row.gap)}: ${row.gap > 0 ? 'predicted higher than raters scored' : 'predicted lower than raters scored'}`),
      fact('Clips', String(row.clips.length)))),
    list);
  clipList(list, name);
}
