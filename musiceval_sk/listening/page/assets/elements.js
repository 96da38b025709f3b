'use strict';
// Small tools that all other scripts share: elements, and texts with their gaps filled.

const texts = window.listenTexts;

function byId(id) {
  return document.getElementById(id);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (gap, name) => (name in values ? values[name] : gap));
}

function paragraphs(lines) {
  return lines.map((line) => element('p', {}, line));
}

function button(label, onclick, attributes = {}) {
  // The second click of a double click would press what has come in the button's place.
  const press = (event) => event.detail > 1 || onclick(event);
  return element('button', {type: 'button', class: 'main-button', onclick: press, ...attributes}, label);
}
