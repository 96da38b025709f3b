// A page of one view: one sound at a time.
document.addEventListener('play', (event) => {
  document.querySelectorAll('audio').forEach((other) => other !== event.target && other.pause());
}, true);
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
});
