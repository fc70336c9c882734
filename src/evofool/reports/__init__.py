"""From the numbers of a study to one page that says what they mean: tables compute, plots and HTML only draw."""
