'use strict';
// Who is how far, and how often each clip was rated; asked for anew every few seconds.

const EVERY = 5000;
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';

function row(name, {done, total}, ...others) {
  const counts = done + ' of ' + total;
  const bar = element('progress', {'aria-label': counts, max: total, value: done});
  return element('tr', {}, element('th', {scope: 'row'}, name), element('td', {}, counts), element('td', {class: 'bar'}, bar), ...others);
}

function ago(time) {
  if (time === null) return '–';
  const minutes = Math.floor((Date.now() - Date.parse(time)) / 60000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return minutes + ' min ago';
  return minutes < 2880 ? Math.floor(minutes / 60) + ' h ago' : Math.floor(minutes / 1440) + ' days ago';
}

function fact(label, value) {
  return element('div', {}, element('dt', {}, label), element('dd', {}, value));
}

function sum(rows, name) {
  return rows.reduce((all, one) => all + one[name], 0);
}

function showOverview({raters, clips}) {
  const finished = raters.filter(({done, total}) => done === total).length;
  const full = clips.filter(({done, total}) => done === total).length;
  byId('facts').replaceChildren(
    fact('Answers', sum(raters, 'done') + ' of ' + sum(raters, 'total')),
    fact('Raters who finished', finished + ' of ' + raters.length),
    fact('Clips with all ratings', full + ' of ' + clips.length));
  byId('raters').replaceChildren(...raters.map((one) => row(one.rater, one, element('td', {}, ago(one.last)))));
  byId('clips').replaceChildren(...clips.map((one) => row(one.clip, one)));
  byId('refreshed').textContent = 'Refreshed ' + new Date().toLocaleTimeString();
}

async function refresh() {
  try {
    const response = await fetch('api/overview', {headers: {Authorization: 'Bearer ' + token}});
    if (response.ok) showOverview(await response.json());
    else byId('refreshed').textContent = 'This link is not valid here; see the file of links.';
  } catch {
    byId('refreshed').textContent = 'The server cannot be reached';
  }
  setTimeout(refresh, EVERY);
}

refresh();
